-- The caller has locked the row and checked the attempt, so no other session can end the attempt.
--
-- lost_at: when the worker, or the job's child process, was found lost; null: the attempt failed. A
-- job is due at once after its first loss, because a loss is rarely the job's fault. After later
-- losses it waits for its backoff. Even a job without retries may be lost once, because it may only
-- have run beside the job that killed their worker; and no job may kill more than four workers.
--
-- What ended so is noted in jobs_attempts. Only here, because a success is noted in the job's row
-- alone.
create or replace function _jobs_end_attempt(
    job_id bigint,
    error text default null,
    retry boolean default null,
    retry_in interval default null,
    lost_at timestamptz default null,
    error_kind text default null
) returns jobs
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_max_attempts constant int := 20;
    v_now constant timestamptz := coalesce(lost_at, clock_timestamp());
    v_lost constant boolean := lost_at is not null;
    v_job jobs;
    v_status text;
    v_key text;
    v_delay interval;
begin
    select j.* into v_job from jobs j where j.id = job_id;
    insert into jobs_attempts (
        job_id, job_type, attempt, worker, due_at, started_at, ended_at, outcome, error_kind,
        error)
    values (
        v_job.id, v_job.job_type, v_job.attempt, v_job.worker, v_job.run_at, v_job.started_at, v_now,
        case when v_lost then 'lost' else 'failed' end,
        left(_jobs_end_attempt.error_kind, 512), _jobs_end_attempt.error)
    on conflict do nothing;
    if v_job.attempt > c_max_attempts then
        delete from jobs_attempts a
        where a.job_id = v_job.id and a.attempt <= (
            select l.attempt from jobs_attempts l
            where l.job_id = v_job.id
            order by l.attempt desc
            offset c_max_attempts limit 1);
    end if;
    v_status := case
        when v_job.cancel_requested_at is not null then 'cancelled'
        when v_lost and v_job.crash_count < least(greatest(v_job.max_retries, 1), 3)
            or not v_lost and coalesce(retry, true) and v_job.retry_count < v_job.max_retries
            then 'pending'
        else 'failed'
    end;
    if v_status = 'pending' then
        -- Scope pending holds the key only while the job waits, so another job may hold it by now.
        v_key := case when v_job.unique_scope = 'pending' then v_job.unique_key end;
        v_delay := case
            when not v_lost
                then coalesce(retry_in, _jobs_retry_delay(v_job.backoff, v_job.retry_count + 1))
            when v_job.crash_count > 0 then _jobs_retry_delay(v_job.backoff, v_job.crash_count)
        end;
    end if;
    update jobs j
    set status = v_status,
        -- A count that does not fit its column would make every recovery fail.
        crash_count = least(j.crash_count + v_lost::int, 32767),
        retry_count = j.retry_count + (v_status = 'pending' and not v_lost)::int,
        error = case
            when not v_lost or _jobs_end_attempt.error is not null then _jobs_end_attempt.error
            when v_status = 'failed' then format('its worker was lost %s times, the last was %s',
                                                 j.crash_count + 1, coalesce(j.worker, 'unknown'))
            else j.error end,
        run_at = coalesce(_jobs_after(v_now, v_delay), j.run_at),
        unique_key = case when v_key is null then j.unique_key end,
        worker = null,
        lease_until = null,
        updated_at = v_now,
        finished_at = case v_status when 'pending' then null else v_now end
    where j.id = job_id
    returning j.* into v_job;
    if v_key is not null then
        return _jobs_take_key(v_job.id, v_key);
    end if;
    return v_job;
end
$$;

comment on function _jobs_end_attempt is
    'internal: ends a failed or lost attempt: the job becomes pending, failed or cancelled';
