-- jsonb_to_recordset gives null for a payload that is JSON null, and for one that is left out. So
-- such a payload is looked up in its object, which holds only the former.
--
-- is_plain: no object has one of the last keys. Then these are not looked for, because a column of
-- jsonb_to_recordset costs each job 1 % of its enqueue.
create or replace function _jobs_unpack(jobs jsonb, is_plain boolean) returns table (
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
    group_key text,
    headers jsonb,
    expires_at timestamptz,
    on_conflict text,
    unique_for interval,
    max_wait interval,
    place bigint
)
language sql immutable
set search_path from current
as $$
select i.job_type, coalesce(i.payload, jobs -> (i.place - 1)::int -> 'payload'), i.queue,
    i.priority, i.run_at, i.reference_type, i.reference_id, i.max_retries, i.unique_key,
    i.unique_scope, i.backoff, i.reference_key,
    case when not is_plain then jobs -> (i.place - 1)::int ->> 'group_key' end,
    case when not is_plain then nullif(jobs -> (i.place - 1)::int -> 'headers', 'null') end,
    case when not is_plain then (jobs -> (i.place - 1)::int ->> 'expires_at')::timestamptz end,
    case when not is_plain then jobs -> (i.place - 1)::int ->> 'on_conflict' end,
    case when not is_plain then (jobs -> (i.place - 1)::int ->> 'unique_for')::interval end,
    case when not is_plain then (jobs -> (i.place - 1)::int ->> 'max_wait')::interval end,
    i.place
from rows from (
    jsonb_to_recordset(jobs) as (
        job_type text, payload jsonb, queue text, priority int, run_at timestamptz,
        reference_type text, reference_id bigint, max_retries int, unique_key text,
        unique_scope text, backoff interval[], reference_key text)
) with ordinality i(
    job_type, payload, queue, priority, run_at, reference_type, reference_id, max_retries,
    unique_key, unique_scope, backoff, reference_key, place)
$$;

comment on function _jobs_unpack is 'internal: the objects of a batch as rows, numbered from 1';
