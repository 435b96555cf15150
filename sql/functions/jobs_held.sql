create or replace function jobs_held(
    worker text,
    job_ids bigint[],
    attempts int[]
) returns int[]
language sql volatile
set search_path from current
as $$
select coalesce(array_agg(l.place), '{}')
from (
    select h.place
    from (
        select distinct on (u.job_id) u.job_id, u.attempt, u.place
        from unnest(job_ids, attempts) with ordinality u(job_id, attempt, place)
        order by u.job_id, u.place
    ) h
    join jobs j on j.id = h.job_id
    where j.worker = jobs_held.worker and j.attempt = h.attempt and j.finished_at is null
    order by j.id
    for update of j
) l
$$;

comment on function jobs_held is
    'internal: locks, in id order, the rows that pass the fence; returns their places in the arrays';
