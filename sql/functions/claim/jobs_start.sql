-- Two sessions cannot both win: the second one waits for the row's lock, then reads processing.
create or replace function jobs_start(
    job_id bigint,
    worker text,
    lease interval default null
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_job jobs;
begin
    perform _jobs_check_claim(worker, lease => lease);
    v_job := _jobs_lock(job_id);
    if v_job.status <> 'pending' then
        raise exception using errcode = 'JQ002',
            message = format('job %s is %s, not pending', job_id, v_job.status);
    end if;
    return query
    update jobs j
    set status = 'processing',
        worker = jobs_start.worker,
        attempt = least(j.attempt, 2147483646) + 1,
        lease_until = _jobs_after(v_now, lease),
        updated_at = v_now,
        started_at = v_now
    where j.id = job_id
    returning j.*;
end
$$;

comment on function jobs_start is
    'claims one chosen pending job by hand; without a lease the claim has no end';
