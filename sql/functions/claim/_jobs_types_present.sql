-- Goes from type to type by one index probe each, instead of reading all rows. The order has to be
-- that of ix_jobs_claim: ix_jobs_job_type has the types in order too, but the types of all queues.
create or replace function _jobs_types_present(
    queue text,
    priority int,
    until timestamptz default 'infinity'
) returns text[]
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $$
with recursive present(job_type, run_at) as (
    (
        select j.job_type, j.run_at from jobs j
        where j.status = 'pending' and j.group_key is null
            and j.queue = _jobs_types_present.queue
            and j.priority = _jobs_types_present.priority
        order by j.job_type, j.run_at, j.id
        limit 1
    )
    union all
    select n.job_type, n.run_at
    from present p
    cross join lateral (
        select j.job_type, j.run_at from jobs j
        where j.status = 'pending' and j.group_key is null
            and j.queue = _jobs_types_present.queue
            and j.priority = _jobs_types_present.priority and j.job_type > p.job_type
        order by j.job_type, j.run_at, j.id
        limit 1
    ) n
)
select coalesce(array_agg(p.job_type), '{}') from present p
where p.run_at <= _jobs_types_present.until
$$;

comment on function _jobs_types_present is
    'internal: the types that have a job pending up to that run_at in one queue and priority';
