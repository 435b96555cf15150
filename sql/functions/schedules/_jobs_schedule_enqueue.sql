-- overlap: `skip` and `replace` give the schedule's jobs one unique_key. With `skip` a job holds it
-- until it ends, with `replace` while it waits.
--
-- Two sessions cannot both replace a waiting job: the row's lock comes before its new status.
create or replace function _jobs_schedule_enqueue(schedule jobs_schedules, tick timestamptz)
returns setof jobs
language plpgsql volatile
set search_path from current
as $$
declare
    v_key text := case when schedule.overlap <> 'allow' then 'schedule/' || schedule.name end;
    v_job jobs;
begin
    if schedule.overlap = 'replace' then
        select h.* into v_job from _jobs_key_holder(schedule.job_type, v_key) h
        where h.status = 'pending' and h.unique_scope = 'pending';
        if found then
            update jobs j
            set status = 'cancelled',
                error = 'replaced by the next job of its schedule',
                updated_at = clock_timestamp(),
                finished_at = clock_timestamp()
            where j.id = v_job.id and j.status = 'pending';
            perform _jobs_signal_jobs(array[v_job.id]), _jobs_count_ends(array[v_job.id]);
        end if;
    end if;
    return query
    insert into jobs as j (
        job_type, payload, queue, priority, max_retries, backoff, group_key, unique_key,
        unique_scope, headers)
    values (
        schedule.job_type, schedule.payload, schedule.queue, schedule.priority,
        schedule.max_retries, schedule.backoff, schedule.group_key, v_key,
        case schedule.overlap when 'replace' then 'pending' else 'live' end,
        jsonb_build_object('pgjobs.schedule', schedule.name, 'pgjobs.scheduled_for', tick))
    on conflict do nothing
    returning j.*;
end
$$;

comment on function _jobs_schedule_enqueue is
    'internal: adds the job of one tick, unless the schedule''s overlap forbids it';
