-- A function that PostgreSQL inlines, because a call of a function with settings costs a lone
-- completion a fiftieth.
create or replace function _jobs_is_batch(
    worker text,
    job_ids bigint[],
    attempts int[],
    others int[]
) returns boolean
language sql immutable
return (
    worker is null
    or greatest(array_ndims(job_ids), array_ndims(attempts)) > 1
    or array_position(job_ids, null) is not null
    or array_position(attempts, null) is not null
    or array_lower(job_ids, 1) <> 1 or array_lower(attempts, 1) <> 1
    or not coalesce(cardinality(job_ids) = all (cardinality(attempts) || others), false)
) is not true;

comment on function _jobs_is_batch is
    'internal: whether these arrays hold no nulls and are of equal lengths; others: further lengths';
