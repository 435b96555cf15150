-- Two sessions cannot both win: the row is locked before its status is read. A claim skips the row
-- while it is locked; an edit that has waited for a claim finds the job processing, and raises.
create or replace function jobs_edit(
    job_id bigint,
    payload jsonb default null,
    priority int default null,
    queue text default null,
    run_at timestamptz default null
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_before jobs := _jobs_lock(jobs_edit.job_id);
    v_after jobs;
begin
    if v_before.status not in ('pending', 'blocked') then
        raise exception using errcode = 'JQ002',
            message = format('job %s is %s: only a job that waits can be edited', v_before.id,
                             v_before.status),
            hint = 'To run it with other values, copy it: jobs_copy.';
    end if;
    perform _jobs_check_job(
        v_before.job_type, jobs_edit.queue, jobs_edit.priority, jobs_edit.run_at,
        reference_type => null, max_retries => null, unique_key => null, unique_scope => null,
        backoff => null, reference_key => null, group_key => null, headers => null,
        expires_at => null);
    -- Others of its group may have waited for this job: they have their turn in the old queue.
    if v_before.group_key is not null then
        perform _jobs_free_places(array[v_before.id]);
    end if;
    update jobs j
    set payload = coalesce(jobs_edit.payload, j.payload),
        priority = coalesce(jobs_edit.priority, j.priority),
        queue = coalesce(jobs_edit.queue, j.queue),
        run_at = coalesce(jobs_edit.run_at, j.run_at),
        updated_at = clock_timestamp()
    where j.id = v_before.id
    returning j.* into v_after;
    -- Workers that sleep know the old place and moment; a later moment they find by themselves.
    if v_after.run_at < v_before.run_at
        or (v_after.queue, v_after.priority) is distinct from (v_before.queue, v_before.priority)
    then
        perform _jobs_signal_jobs(array[v_after.id]);
    end if;
    perform _jobs_audit_note(
        'edit', v_after.id, jobs => 1, filters => jsonb_build_object('fields', array_remove(array[
            case when jobs_edit.payload is not null then 'payload' end,
            case when jobs_edit.priority is not null then 'priority' end,
            case when jobs_edit.queue is not null then 'queue' end,
            case when jobs_edit.run_at is not null then 'run_at' end], null)));
    return next v_after;
end
$$;

comment on function jobs_edit is
    'changes what is given of a pending or blocked job: payload, priority, queue, run_at';
