-- missed: a tick is missed if a later one is due too, or if it is a minute old.
--
-- The ticks for which there is no time until stop_at stay due, so that the next call goes on with
-- them: a call that is cut off undoes all that it did, and would never get further.
create or replace function _jobs_schedule_fire(
    schedule jobs_schedules,
    at timestamptz,
    stop_at timestamptz
) returns setof jobs
language plpgsql volatile
set search_path from current
as $$
declare
    c_late constant interval := '1 minute';
    c_max_missed constant int := 1000;
    c_recent constant int := 4;
    v_ticks timestamptz[] := array[schedule.next_at];
    v_next timestamptz := _jobs_schedule_next(schedule, schedule.next_at);
    v_tick timestamptz;
    v_job jobs;
begin
    if v_next <= at then
        v_ticks := _jobs_schedule_ticks(
            schedule, at, case schedule.missed when 'all' then c_max_missed else 1 end);
        v_next := _jobs_schedule_next(schedule, at);
    end if;
    foreach v_tick in array v_ticks loop
        if v_tick > v_ticks[1] and clock_timestamp() > stop_at then
            v_next := v_tick;
            exit;
        end if;
        continue when at - v_tick > schedule.missed_within
            or schedule.missed = 'none' and at - v_tick > c_late;
        for v_job in select e.* from _jobs_schedule_enqueue(schedule, v_tick) e loop
            schedule.last_at := v_tick;
            schedule.recent_job_ids := (v_job.id || schedule.recent_job_ids)[1:c_recent];
            return next v_job;
        end loop;
    end loop;
    update jobs_schedules s
    set next_at = v_next,
        last_at = schedule.last_at,
        recent_job_ids = schedule.recent_job_ids,
        error = null
    where s.name = schedule.name;
end
$$;

comment on function _jobs_schedule_fire is
    'internal: adds the jobs of the ticks of a locked schedule that are due, and sets the next tick';
