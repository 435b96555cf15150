-- Two sessions cannot both win: the second waits for the row's lock, then sees the first's change.
create or replace function _jobs_lock_fenced(
    job_id bigint,
    worker text,
    attempt int
) returns jobs
language plpgsql volatile
set search_path from current
as $$
declare
    v_job jobs := _jobs_lock(job_id);
begin
    if v_job.status <> 'processing' then
        raise exception using errcode = 'JQ002',
            message = format('job %s is %s, not processing', job_id, v_job.status);
    end if;
    if coalesce(_jobs_lock_fenced.worker, v_job.worker) is distinct from v_job.worker
        or _jobs_lock_fenced.attempt <> v_job.attempt
    then
        raise exception using errcode = 'JQ002',
            message = format('job %s is held by %s in attempt %s; given: %s, attempt %s',
                             job_id, v_job.worker, v_job.attempt,
                             coalesce(left(_jobs_lock_fenced.worker, 100), 'any'),
                             coalesce(_jobs_lock_fenced.attempt::text, 'any'));
    end if;
    return v_job;
end
$$;

comment on function _jobs_lock_fenced is
    'internal: locks a processing job, or raises if the fence fails';
