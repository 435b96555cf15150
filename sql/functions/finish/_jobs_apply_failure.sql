-- The caller has locked the row and checked its fence.
create or replace function _jobs_apply_failure(
    job_id bigint,
    error text,
    retry boolean,
    retry_in interval
) returns jobs
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_job jobs;
    v_status text;
begin
    select j.* into v_job from jobs j where j.id = job_id;
    v_status := case
        when v_job.cancel_requested_at is not null then 'cancelled'
        when coalesce(retry, true) and v_job.retry_count < v_job.max_retries then 'pending'
        else 'failed'
    end;
    update jobs j
    set status = v_status,
        error = _jobs_apply_failure.error,
        retry_count = j.retry_count + (v_status = 'pending')::int,
        run_at = case v_status
            when 'pending'
                then v_now + coalesce(retry_in, _jobs_retry_delay(j.backoff, j.retry_count + 1))
            else j.run_at end,
        worker = null,
        lease_until = null,
        updated_at = v_now,
        finished_at = case v_status when 'pending' then null else v_now end
    where j.id = job_id
    returning j.* into v_job;
    return v_job;
end
$$;

comment on function _jobs_apply_failure is
    'internal: what a failure makes of a job: pending again, failed, or cancelled if that was asked';
