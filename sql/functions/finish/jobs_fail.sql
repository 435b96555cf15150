-- Two sessions cannot both win: _jobs_lock_fenced locks the row and raises for the second session.
create or replace function jobs_fail(
    job_id bigint,
    error text,
    retry boolean default true,
    retry_in interval default null,
    worker text default null,
    attempt int default null,
    error_kind text default null
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_job jobs;
begin
    perform _jobs_check_failure(array[error], array[retry], array[retry_in]);
    perform _jobs_lock_fenced(job_id, worker, attempt);
    v_job := _jobs_end_attempt(job_id, error, retry, retry_in, error_kind => error_kind);
    perform _jobs_signal_jobs(array[job_id]), _jobs_count_ends(array[job_id]);
    return next v_job;
end
$$;

comment on function jobs_fail is
    'processing -> pending for a retry, failed if none is left or wanted, or cancelled';
