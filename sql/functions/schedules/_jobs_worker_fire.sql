-- A worker calls this at the moment of the next tick that it knows. All workers may: who comes
-- second finds nothing due. fires_at: when a schedule is due next. It may be past: more are due
-- than one call fires, or another session fires it at this moment; then `fired` is false.
create or replace function _jobs_worker_fire()
returns table (fired boolean, fires_at timestamptz, fired_at timestamptz)
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_was_due_at timestamptz := _jobs_schedule_due();
begin
    if v_was_due_at <= clock_timestamp() then
        perform from jobs_schedules_fire();
        fires_at := _jobs_schedule_due();
    else
        fires_at := v_was_due_at;
    end if;
    fired := fires_at is distinct from v_was_due_at;
    fired_at := clock_timestamp();
    return next;
end
$$;

comment on function _jobs_worker_fire is
    'internal: fires schedules that are due; fires_at: when the next one is due';
