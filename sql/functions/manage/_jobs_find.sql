create or replace function _jobs_find(job_id bigint) returns jobs
language plpgsql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_job jobs;
begin
    if job_id is null then
        raise exception using errcode = 'JQ003', message = 'job_id is missing';
    end if;
    select j.* into v_job from jobs j where j.id = job_id;
    if not found then
        raise exception using errcode = 'JQ001', message = format('there is no job %s', job_id);
    end if;
    return v_job;
end
$$;

comment on function _jobs_find is
    'internal: returns a job without a lock, or raises if it is missing';
