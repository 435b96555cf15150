-- Two sessions cannot both fire a tick: the second one skips the locked row, or reads its new next_at
-- after the lock. The jobs and the new next_at commit together, so a session that is killed leaves
-- the tick to the next one.
--
-- missed: a tick is missed if a later one is due too, or if it is a minute old. A schedule that cannot
-- enqueue says why in its row and goes on to its next tick. One that waits too long for a lock stays
-- due. Errors that concern no schedule (a deadlock, a full disk) end the whole call.
create or replace function jobs_schedules_fire(max_schedules int default 100) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
set lock_timeout = '1s'
as $$
declare
    c_late constant interval := '1 minute';
    c_max_missed constant int := 1000;
    c_recent constant int := 4;
    v_now timestamptz := clock_timestamp();
    v_schedule jobs_schedules;
    v_next timestamptz;
    v_next_is_known boolean;
    v_ticks timestamptz[];
    v_tick timestamptz;
    v_jobs jobs[];
    v_job jobs;
    v_error text;
begin
    for v_schedule in
        select s.* from jobs_schedules s
        where s.paused_at is null and s.next_at is not null and s.next_at <= v_now
        order by s.next_at
        limit coalesce(max_schedules, 100)
        for update skip locked
    loop
        v_error := null;
        v_next_is_known := false;
        -- Rows that were returned within the block would survive its error.
        v_jobs := '{}';
        begin
            v_ticks := array[v_schedule.next_at];
            v_next := _jobs_schedule_next(v_schedule, v_schedule.next_at);
            if v_next <= v_now then
                v_ticks := _jobs_schedule_ticks(v_schedule, v_now,
                    case v_schedule.missed when 'all' then c_max_missed else 1 end);
                v_next := _jobs_schedule_next(v_schedule, v_now);
            end if;
            v_next_is_known := true;
            foreach v_tick in array v_ticks loop
                continue when v_now - v_tick > v_schedule.missed_within
                    or v_schedule.missed = 'none' and v_now - v_tick > c_late;
                for v_job in select e.* from _jobs_schedule_enqueue(v_schedule, v_tick) e loop
                    v_jobs := v_jobs || v_job;
                    v_schedule.last_at := v_tick;
                    v_schedule.recent_job_ids := (v_job.id || v_schedule.recent_job_ids)[1:c_recent];
                end loop;
            end loop;
        exception
            when lock_not_available then
                continue;
            when transaction_rollback or insufficient_resources or operator_intervention
                or system_error
            then
                raise;
            when others then
                v_error := sqlerrm;
                v_jobs := '{}';
                if not v_next_is_known then
                    v_next := _jobs_after(v_now, c_late);
                end if;
        end;
        update jobs_schedules s
        set next_at = v_next,
            last_at = case when v_error is null then v_schedule.last_at else s.last_at end,
            recent_job_ids = case when v_error is null then v_schedule.recent_job_ids
                else s.recent_job_ids end,
            error = v_error
        where s.name = v_schedule.name;
        return query select j.* from unnest(v_jobs) j;
    end loop;
end
$$;

comment on function jobs_schedules_fire is
    'enqueues the jobs of all schedules that are due, and sets when each is due next';
