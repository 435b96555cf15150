-- Goes from type to type by one index probe each.
create or replace function _jobs_turn_types(queue text) returns text[]
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
with recursive present(job_type) as (
    (
        select t.job_type from jobs_turns t
        where t.queue = _jobs_turn_types.queue
        order by t.queue, t.job_type, t.turn_at
        limit 1
    )
    union all
    select n.job_type
    from present p
    cross join lateral (
        select t.job_type from jobs_turns t
        where t.queue = _jobs_turn_types.queue and t.job_type > p.job_type
        order by t.queue, t.job_type, t.turn_at
        limit 1
    ) n
)
select coalesce(array_agg(p.job_type), '{}') from present p
$$;

comment on function _jobs_turn_types is 'internal: the types for which a queue has turns';
