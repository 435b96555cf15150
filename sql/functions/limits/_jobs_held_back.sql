-- queues and group_keys are arrays of equal length: the groups to look at, besides all queues with
-- limits of their own.
create or replace function _jobs_held_back(
    queues text[] default '{}',
    group_keys text[] default '{}'
) returns table (queue text, group_key text, told text)
language sql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
select a.queue, null, a.told
from (
    select q.queue, _jobs_told_limit(q) as told from jobs_queues q
    where num_nonnulls(q.max_running, q.rate_count) > 0
) a
where a.told is not null
union all
select a.queue, a.group_key, a.told
from (
    select g.queue, g.group_key, _jobs_told_group(q, g.group_key) as told
    from (
        select distinct u.queue, u.group_key
        from unnest(_jobs_held_back.queues, _jobs_held_back.group_keys) u(queue, group_key)
        where u.group_key is not null
    ) g
    join jobs_queues q on q.queue = g.queue
    where q.in_order or num_nonnulls(q.max_running_per_group, q.group_rate_count) > 0
) a
where a.told is not null
$$;

comment on function _jobs_held_back is
    'internal: which queues, and which of these groups, a limit lets start nothing now, and why';
