create or replace function _jobs_unpack(jobs jsonb) returns table (
    job_type text,
    payload jsonb,
    queue text,
    priority int,
    run_at timestamptz,
    reference_type text,
    reference_id bigint,
    max_retries int,
    unique_key text,
    unique_scope text,
    backoff interval[],
    reference_key text,
    place bigint
)
language sql immutable
set search_path from current
as $$
select i.*
from rows from (
    jsonb_to_recordset(jobs) as (
        job_type text, payload jsonb, queue text, priority int, run_at timestamptz,
        reference_type text, reference_id bigint, max_retries int, unique_key text,
        unique_scope text, backoff interval[], reference_key text)
) with ordinality i
$$;

comment on function _jobs_unpack is 'internal: the objects of a batch as rows, numbered from 1';
