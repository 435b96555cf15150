-- Two sessions cannot both win: the row is locked before its status is read, and the unique index
-- decides which job holds a key.
create or replace function jobs_retry(job_id bigint) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_job jobs := _jobs_lock(job_id);
begin
    if v_job.status in ('pending', 'processing', 'blocked') then
        raise exception using errcode = 'JQ002',
            message = format('job %s is %s already', job_id, v_job.status);
    end if;
    -- No `return query` in this block: its row would survive the error.
    begin
        select p.* into v_job from _jobs_make_pending(array[job_id]) p;
    exception
        when unique_violation then
            raise exception using errcode = 'JQ004',
                message = format('job %s cannot be retried: another %s job holds its unique_key %L',
                                 job_id, v_job.job_type, v_job.unique_key);
    end;
    perform _jobs_signal_jobs(array[job_id]);
    perform _jobs_audit_note('retry', job_id, jobs => 1);
    return next v_job;
end
$$;

comment on function jobs_retry is
    'a failed, cancelled or completed job -> pending now, with its counts at 0';
