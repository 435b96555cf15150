-- Acts as its owner, because an observer may not read jobs. due: at most 20 are counted of each type.
-- startable: how many of them the limits let start now; told: why none. In each queue this looks at its
-- share of 500 groups, in the order of their keys; is_more: there are more.
create or replace function _jobs_waiting_groups(
    only_queue text default null,
    max_groups int default 20
) returns table (
    queue text, group_key text, due bigint, due_capped boolean, startable bigint, oldest interval,
    held_until timestamptz, is_more boolean, told text
)
language sql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
select g.queue, g.group_key, g.due, g.due_capped, g.startable, clock_timestamp() - g.oldest_at,
    g.held_until, g.is_more,
    case when g.startable = 0 and q.queue is not null then _jobs_told_group(q, g.group_key) end
from (
    select w.queue, w.group_key, sum(w.due)::bigint as due, bool_or(w.due_capped) as due_capped,
        sum(w.startable)::bigint as startable, min(w.oldest) as oldest_at,
        min(w.held_until) as held_until, bool_or(w.is_more) as is_more
    from _jobs_groups(20, 500, 20000, true) w
    where w.due > 0
        and (_jobs_waiting_groups.only_queue is null or w.queue = _jobs_waiting_groups.only_queue)
    group by w.queue, w.group_key
    order by min(w.oldest), w.queue, w.group_key
    limit _jobs_waiting_groups.max_groups
) g
left join jobs_queues q on q.queue = g.queue
order by g.oldest_at, g.queue, g.group_key
$$;

comment on function _jobs_waiting_groups is
    'internal: the groups whose due jobs wait longest, and why none of them starts';
