-- A schedule of every minute that nobody has fired for a year has half a million ticks. So this
-- does not walk from the first one: it goes back from `until` in steps that double, until at least
-- as many ticks as are wanted lie behind, and walks on from there.
create or replace function _jobs_schedule_ticks(
    schedule jobs_schedules,
    until timestamptz,
    max_ticks int
) returns timestamptz[]
language plpgsql stable
set search_path from current
as $$
declare
    v_first constant timestamptz := schedule.next_at;
    v_step interval := interval '1 second';
    v_after timestamptz;
    v_tick timestamptz;
    v_ticks timestamptz[];
begin
    loop
        v_after := greatest(until - v_step, v_first - interval '1 microsecond');
        v_ticks := '{}';
        v_tick := v_after;
        loop
            v_tick := _jobs_schedule_next(schedule, v_tick);
            exit when v_tick is null or v_tick > until;
            v_ticks := v_ticks || v_tick;
        end loop;
        exit when cardinality(v_ticks) >= max_ticks or v_after < v_first;
        v_step := v_step * 2;
    end loop;
    return v_ticks[greatest(1, cardinality(v_ticks) - max_ticks + 1):];
end
$$;

comment on function _jobs_schedule_ticks is
    'internal: the latest ticks of a schedule from next_at up to a moment, in order';
