-- Two sessions cannot both win: the row is locked before its status is read.
create or replace function jobs_cancel(
    job_id bigint,
    reason text default null,
    worker text default null,
    attempt int default null,
    downstream boolean default false
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_job jobs;
    v_by_worker boolean := worker is not null or attempt is not null;
    v_below bigint := 0;
begin
    if downstream then
        v_below := _jobs_flow_cancel(job_id, reason);
    end if;
    v_job := _jobs_lock(job_id);
    if v_by_worker then
        v_job := _jobs_lock_fenced(job_id, worker, attempt);
    end if;
    if v_job.status = 'cancelled' then
        return next v_job;
    elsif v_job.status in ('pending', 'blocked') or v_by_worker then
        return query
        update jobs j
        set status = 'cancelled',
            error = coalesce(reason, j.error),
            worker = null,
            lease_until = null,
            updated_at = clock_timestamp(),
            finished_at = clock_timestamp()
        where j.id = job_id
        returning j.*;
        perform _jobs_count_ends(array[job_id]);
        -- A job that waited for its retry may have held back its group.
        if exists (select from jobs_queues q where q.ends_free_places)
            or exists (select from jobs_watched w where w.job_id = jobs_cancel.job_id)
            or exists (select from jobs_flow_edges e where e.parent_id = jobs_cancel.job_id)
        then
            perform _jobs_free_places(array[job_id]), _jobs_tell_watchers(array[job_id]),
                _jobs_flow_ended(array[job_id]);
        end if;
    elsif v_job.status = 'processing' then
        return query
        update jobs j
        set cancel_requested_at = coalesce(j.cancel_requested_at, clock_timestamp()),
            error = coalesce(reason, j.error),
            updated_at = clock_timestamp()
        where j.id = job_id
        returning j.*;
        if pg_notification_queue_usage() < 0.5 then
            perform pg_notify(jobs_channel('jobs_cancel'), job_id::text);
        end if;
    else
        raise exception using errcode = 'JQ002',
            message = format('job %s is %s already', job_id, v_job.status);
    end if;
    -- A worker that ends what it holds does its work, and manages nothing.
    if not v_by_worker or v_below > 0 then
        perform _jobs_audit_note(
            'cancel', job_id,
            filters => case when downstream then jsonb_build_object('downstream', true) end,
            jobs => v_below + (v_job.status <> 'cancelled')::int, reason => reason);
    end if;
end
$$;

comment on function jobs_cancel is
    'pending, blocked -> cancelled; asks the worker of a processing job to cancel it; downstream: also'
    ' all that wait for it';
