-- The lock is the argument: whoever gets it second reads what the first one left.
create or replace function jobs_hold(
    job_id bigint,
    worker text,
    attempt int
) returns jobs
language plpgsql volatile
set search_path from current
as $$
declare
    v_job jobs;
begin
    v_job := jobs_lock(job_id);
    if v_job.status <> 'processing' then
        raise exception using errcode = 'JQ002',
            message = format('job %s is %s, not processing', job_id, v_job.status);
    end if;
    if coalesce(jobs_hold.worker, v_job.worker) is distinct from v_job.worker
        or jobs_hold.attempt <> v_job.attempt
    then
        raise exception using errcode = 'JQ002',
            message = format('job %s is held by %s in attempt %s, not by %s in attempt %s',
                             job_id, v_job.worker, v_job.attempt,
                             coalesce(left(jobs_hold.worker, 100), 'anybody'),
                             coalesce(jobs_hold.attempt::text, 'any'));
    end if;
    return v_job;
end
$$;

comment on function jobs_hold is 'internal: locks a processing job, or raises if the fence fails';
