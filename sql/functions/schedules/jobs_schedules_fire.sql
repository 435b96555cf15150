-- Two sessions cannot both fire a tick: the second one skips the locked row, or reads its new
-- next_at after the lock. The jobs and the new next_at commit together, so a session that is killed
-- leaves the tick to the next one.
--
-- One subtransaction holds all schedules, because a subtransaction per schedule makes every session
-- of the server slower. Only if one schedule fails, each has its own: then a schedule that cannot
-- enqueue says why in its row and goes on to its next tick, and one that waits for a lock stays
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
    -- A worker is patient for longer, and calls again at once while schedules are due.
    c_at_most constant interval := '1 second';
    v_now constant timestamptz := clock_timestamp();
    v_stop_at constant timestamptz := v_now + c_at_most;
    v_due jobs_schedules[];
    v_schedule jobs_schedules;
    -- Rows that were returned within a block would survive its error.
    v_jobs jobs[] := '{}';
    v_some jobs[];
begin
    if max_schedules < 0 then
        raise exception using errcode = 'JQ003',
            message = format('max_schedules must be 0 or more, not %s', max_schedules);
    end if;
    v_due := array(
        select d from (
            select s.* from jobs_schedules s
            where s.paused_at is null and s.next_at is not null and s.next_at <= v_now
            order by s.next_at
            limit coalesce(max_schedules, 100)
            for update skip locked) d);
    begin
        foreach v_schedule in array v_due loop
            exit when v_jobs <> '{}' and clock_timestamp() > v_stop_at;
            v_jobs := v_jobs || array(
                select f from _jobs_schedule_fire(v_schedule, v_now, v_stop_at) f);
        end loop;
        return query select j.* from unnest(v_jobs) j;
        return;
    exception
        when transaction_rollback or insufficient_resources or operator_intervention
            or system_error
        then
            raise;
        when others then
            v_jobs := '{}';
    end;
    -- The schedules wait a second for all locks together: who calls this may have little patience.
    perform set_config('lock_timeout', '10ms', true);
    foreach v_schedule in array v_due loop
        exit when v_jobs <> '{}' and clock_timestamp() > v_stop_at;
        begin
            v_some := array(select f from _jobs_schedule_fire(v_schedule, v_now, v_stop_at) f);
            v_jobs := v_jobs || v_some;
        exception
            when lock_not_available then
                null;
            when transaction_rollback or insufficient_resources or operator_intervention
                or system_error
            then
                raise;
            when others then
                perform _jobs_schedule_fail(v_schedule, v_now, sqlerrm);
        end;
    end loop;
    return query select j.* from unnest(v_jobs) j;
end
$$;

comment on function jobs_schedules_fire is
    'enqueues the jobs of all schedules that are due, and sets when each is due next';
