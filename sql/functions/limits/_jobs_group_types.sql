-- Goes from type to type by one index probe each.
create or replace function _jobs_group_types(queue text, group_key text) returns text[]
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
with recursive present(job_type) as (
    (
        select j.job_type from jobs j
        where j.queue = _jobs_group_types.queue and j.group_key = _jobs_group_types.group_key
            and j.status = 'pending' and j.finished_at is null
        order by j.job_type, _jobs_rank(j.attempt, j.priority), j.run_at, j.id
        limit 1
    )
    union all
    select n.job_type
    from present p
    cross join lateral (
        select j.job_type from jobs j
        where j.queue = _jobs_group_types.queue and j.group_key = _jobs_group_types.group_key
            and j.status = 'pending' and j.finished_at is null and j.job_type > p.job_type
        order by j.job_type, _jobs_rank(j.attempt, j.priority), j.run_at, j.id
        limit 1
    ) n
)
select coalesce(array_agg(p.job_type), '{}') from present p
$$;

comment on function _jobs_group_types is 'internal: the types of the pending jobs of a group';
