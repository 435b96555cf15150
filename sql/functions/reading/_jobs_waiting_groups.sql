-- Acts as its owner, because an observer may not read jobs. due: at most 20 are counted of each type. In
-- each queue this looks at its share of 500 groups, in the order of their keys; is_more: there are more.
create or replace function _jobs_waiting_groups(
    only_queue text default null,
    max_groups int default 20
) returns table (
    queue text, group_key text, due bigint, due_capped boolean, startable bigint, oldest interval,
    held_until timestamptz, is_more boolean
)
language sql stable security definer
set search_path from current
set jit = off
as $$
select g.queue, g.group_key, sum(g.due)::bigint, bool_or(g.due_capped), sum(g.startable)::bigint,
    clock_timestamp() - min(g.oldest), min(g.held_until), bool_or(g.is_more)
from _jobs_groups(20, 500, 20000, true) g
where g.due > 0
    and (_jobs_waiting_groups.only_queue is null or g.queue = _jobs_waiting_groups.only_queue)
group by g.queue, g.group_key
order by min(g.oldest), g.queue, g.group_key
limit _jobs_waiting_groups.max_groups
$$;

comment on function _jobs_waiting_groups is
    'internal: the groups whose due jobs wait longest';
