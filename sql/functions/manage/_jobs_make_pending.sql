-- For jobs that the caller has locked and found to have ended. A retry by hand does not expire: who
-- asks for it wants the job to run. Raises unique_violation where another
-- job holds the key of one of them.
create or replace function _jobs_make_pending(job_ids bigint[]) returns setof jobs
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
update jobs j
set status = 'pending',
    retry_count = 0,
    crash_count = 0,
    run_at = clock_timestamp(),
    progress = null,
    result = null,
    error = null,
    worker = null,
    lease_until = null,
    cancel_requested_at = null,
    expires_at = null,
    marks = j.marks & ~1,
    updated_at = clock_timestamp(),
    finished_at = null
where j.id = any (job_ids)
returning j.*
$$;

comment on function _jobs_make_pending is
    'internal: makes these jobs pending now, with their counts at 0';
