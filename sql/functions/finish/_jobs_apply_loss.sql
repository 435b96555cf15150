-- The caller has locked the row. Back at once the first time, for most workers are lost by no fault of
-- their jobs; after the job's backoff later.
create or replace function _jobs_apply_loss(
    job_id bigint,
    noticed_at timestamptz
) returns jobs
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_job jobs;
    v_status text;
begin
    select j.* into v_job from jobs j where j.id = job_id;
    v_status := case
        when v_job.cancel_requested_at is not null then 'cancelled'
        when v_job.crash_count < v_job.max_retries then 'pending'
        else 'failed'
    end;
    update jobs j
    set status = v_status,
        -- A count that did not fit would keep everybody from recovering anything.
        crash_count = least(j.crash_count + 1, 32767),
        error = case v_status
            when 'failed' then format('its worker was lost %s times, the last was %s',
                                      j.crash_count + 1, coalesce(j.worker, 'unknown'))
            else j.error end,
        run_at = case
            when v_status = 'pending' and j.crash_count > 0
                then noticed_at + _jobs_retry_delay(j.backoff, j.crash_count)
            else j.run_at end,
        worker = null,
        lease_until = null,
        updated_at = noticed_at,
        finished_at = case v_status when 'pending' then null else noticed_at end
    where j.id = job_id
    returning j.* into v_job;
    return v_job;
end
$$;

comment on function _jobs_apply_loss is
    'internal: what the loss of its worker makes of a job: pending again, failed, or cancelled';
