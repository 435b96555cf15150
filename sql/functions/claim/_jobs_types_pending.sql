-- For a claim of many queues, whatever their types: one list for all queues costs less than a list
-- for each. Like _jobs_types_present it goes from type to type by index probes: one for the next
-- type, and one for its first pending job.
create or replace function _jobs_types_pending() returns text[]
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $$
with recursive present(job_type) as (
    (select j.job_type from jobs j order by j.job_type, j.status limit 1)
    union all
    select n.job_type
    from present p
    cross join lateral (
        select j.job_type from jobs j
        where j.job_type > p.job_type
        order by j.job_type, j.status
        limit 1
    ) n
)
select coalesce(array_agg(p.job_type), '{}')
from present p
cross join lateral (
    select j.job_type, j.status from jobs j
    where (j.job_type, j.status) >= (p.job_type, 'pending')
    order by j.job_type, j.status
    limit 1
) n
where n.job_type = p.job_type and n.status = 'pending'
$$;

comment on function _jobs_types_pending is
    'internal: the types of the pending jobs of all queues';
