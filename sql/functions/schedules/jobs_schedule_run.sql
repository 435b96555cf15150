-- Two sessions cannot both win where the jobs of a schedule may not overlap: the schedule's row is
-- locked, and the second one is given the job of the first.
create or replace function jobs_schedule_run(name text) returns setof jobs
language plpgsql volatile security definer rows 1
set search_path from current
as $$
declare
    v_schedule jobs_schedules := _jobs_schedule_lock(name);
    v_job jobs;
begin
    select e.* into v_job from _jobs_schedule_enqueue(v_schedule, clock_timestamp()) e;
    if v_job.id is null then
        return query
        select h.* from _jobs_key_holder(v_schedule.job_type, 'schedule/' || name) h;
        return;
    end if;
    update jobs_schedules s
    set last_at = clock_timestamp(),
        recent_job_ids = (v_job.id || s.recent_job_ids)[1:4],
        error = null
    where s.name = jobs_schedule_run.name;
    perform _jobs_audit_note(
        'schedule_run', v_job.id, jobs => 1, filters => jsonb_build_object('name', name));
    return next v_job;
end
$$;

comment on function jobs_schedule_run is
    'adds a job of a schedule now; returns the job in its way, where two may not overlap';
