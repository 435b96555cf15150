-- Acts as its owner, because an observer may not read jobs. No text tells a payload, a result, an
-- error or a unique_key.
create or replace function jobs_why(job_id bigint)
returns table (reason text, detail text, advice text)
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_job jobs := _jobs_find(job_id);
begin
    if v_job.status = 'pending' then
        return query select w.reason, w.detail, w.advice from _jobs_why_pending(v_job) w;
    elsif v_job.status = 'blocked' then
        return query select w.reason, w.detail, w.advice from _jobs_why_blocked(v_job) w;
    elsif v_job.status = 'processing' then
        return query select w.reason, w.detail, w.advice from _jobs_why_processing(v_job) w;
    else
        return query select w.reason, w.detail, w.advice from _jobs_why_ended(v_job) w;
    end if;
end
$$;

comment on function jobs_why is
    'why a job does not run, the worst reason first, and what to do about each';
