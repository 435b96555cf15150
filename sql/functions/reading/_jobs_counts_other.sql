-- No index leads to the jobs of a queue that are not pending. So this reads up to cap jobs of each
-- status, those first that ended last. It does not tell apart their types where the first 1,000 of
-- them are of more than max_groups queues and types.
create or replace function _jobs_counts_other(cap int, max_groups int)
returns table (queue text, job_type text, state text, jobs bigint, capped boolean)
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
with statuses as materialized (
    select s.status, (
        select count(distinct (f.queue, f.job_type)) <= max_groups
        from (
            select j.queue, j.job_type from jobs j
            where j.status = s.status and j.status <> 'pending'
            order by j.finished_at desc
            limit least(1000, cap)
        ) f) as has_types
    from unnest('{blocked,processing,completed,failed,cancelled}'::text[]) s(status)
)
select f.queue, case when s.has_types then f.job_type end, s.status,
    least(count(*), cap), sum(count(*)) over (partition by s.status) > cap
from statuses s
cross join lateral (
    select j.queue, j.job_type from jobs j
    where j.status = s.status and j.status <> 'pending'
    order by j.finished_at desc
    limit cap::bigint + 1
) f
group by 1, 2, 3
$$;

comment on function _jobs_counts_other is
    'internal: jobs_counts for the statuses other than pending';
