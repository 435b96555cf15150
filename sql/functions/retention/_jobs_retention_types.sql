-- From type to type by one index probe each.
create or replace function _jobs_retention_types(status text) returns text[]
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
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
where not exists (
    select from jobs_retention r
    where r.status = _jobs_retention_types.status and r.job_type = p.job_type)
$$;

comment on function _jobs_retention_types is
    'internal: the types of all jobs that have no rule of their own for this status';
