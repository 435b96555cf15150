-- Takes no lock: the copy is of the row as it is, also while the job runs. Whoever copies a job
-- begins anew, so the trace of the job's sender does not go on in the copy.
create or replace function jobs_copy(job_id bigint, payload jsonb default null) returns setof jobs
language plpgsql volatile security definer rows 1
set search_path from current
as $$
declare
    v_job jobs := _jobs_find(job_id);
    v_copy jobs;
begin
    select e.* into v_copy
    from jobs_enqueue(
        v_job.job_type, coalesce(jobs_copy.payload, v_job.payload), v_job.queue, v_job.priority,
        reference_type => v_job.reference_type, reference_id => v_job.reference_id,
        reference_key => v_job.reference_key, max_retries => v_job.max_retries,
        backoff => v_job.backoff, group_key => v_job.group_key,
        headers => nullif(v_job.headers - '{traceparent,tracestate}'::text[], '{}')) e;
    perform _jobs_audit_note('copy', job_id, jobs => 1, filters => jsonb_build_object(
        'copy', v_copy.id,
        'fields', case when jobs_copy.payload is not null then '{payload}'::text[] end));
    return next v_copy;
end
$$;

comment on function jobs_copy is
    'a new job like this one, due now, without its unique_key; payload: another one';
