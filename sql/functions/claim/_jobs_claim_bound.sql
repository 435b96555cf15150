-- A claim of several types may lock all due rows up to the bound. It reads at most chunk rows of
-- each type. A type that fills its chunk may have more rows beyond it, so the bound is at most the
-- last row of the first such chunk. The bound is also at most the wanted-th row of all types
-- together. If it has read every due row, it returns no row.
create or replace function _jobs_claim_bound(
    queue text,
    priority int,
    job_types text[],
    due timestamptz,
    after_run_at timestamptz,
    after_id bigint,
    chunk int,
    wanted int
) returns table (run_at timestamptz, id bigint)
language sql volatile
set search_path from current
as $$
with head as materialized (
    select c.run_at, c.id, c.place
    from unnest(job_types) t(job_type)
    cross join lateral (
        select j.run_at, j.id, row_number() over (order by j.run_at, j.id) as place
        from jobs j
        where j.status = 'pending'
            and j.group_key is null
            and j.queue = _jobs_claim_bound.queue
            and j.priority = _jobs_claim_bound.priority
            and j.job_type = t.job_type
            and (j.run_at, j.id) > (after_run_at, after_id)
            and j.run_at <= due
            and j.crash_count = 0
        order by j.run_at, j.id
        limit chunk
    ) c
)
select b.run_at, b.id
from (
    select h.run_at, h.id from head h where h.place = chunk
    union all
    (select h.run_at, h.id from head h order by h.run_at, h.id offset wanted - 1 limit 1)
) b
order by b.run_at, b.id
limit 1
$$;

comment on function _jobs_claim_bound is
    'internal: up to which row a claim of several types may lock without taking too many';
