-- Rows without a unique_key cannot conflict. A key that an object lacks is null in _jobs_unpack.
create or replace function _jobs_enqueue_together(jobs jsonb) returns setof jobs
language sql volatile security definer
set search_path from current
as $$
insert into jobs (
    job_type, payload, queue, priority, run_at, reference_type, reference_id, max_retries,
    unique_scope, backoff, reference_key)
select i.job_type, coalesce(i.payload, '{}'), coalesce(i.queue, 'default'),
    coalesce(i.priority, 0), coalesce(i.run_at, clock_timestamp()), i.reference_type,
    i.reference_id, coalesce(i.max_retries, 3), coalesce(i.unique_scope, 'live'), i.backoff,
    i.reference_key
from _jobs_unpack(_jobs_enqueue_together.jobs) i
order by i.place
returning *
$$;

comment on function _jobs_enqueue_together is
    'internal: adds jobs of callers that share one statement, without unique keys; all or none';
