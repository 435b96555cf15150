-- One statement, so that the jobs and the turns are those of one moment: a claim deletes the turns
-- of a group, and inserts others, in one transaction. A full group has a turn 10 s ahead.
create or replace function _jobs_groups_without_turn(max_groups int)
returns table (queue text, group_key text, job_type text)
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
select g.queue, g.group_key, g.job_type
from _jobs_groups(20, max_groups, 20000, true) g
cross join lateral (
    select exists (
            select from jobs_turns t where t.queue = g.queue and t.group_key = g.group_key
        ) as has_any,
        g.startable = 0 or exists (
            select from jobs_turns t
            where t.queue = g.queue and t.group_key = g.group_key and t.job_type = g.job_type
                and t.turn_at <= clock_timestamp() + interval '11 seconds') as has_near
) t
left join jobs_queues q on q.queue = g.queue
where not t.has_any or not t.has_near or q.has_groups is not true
$$;

comment on function _jobs_groups_without_turn is
    'internal: pending jobs that no claim reaches: their group has no turn, or their queue no flag';
