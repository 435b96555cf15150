-- Ticks of `every` are multiples of it, counted from starts_at or from the year 1970, so that all
-- who declare the same schedule mean the same moments. In whole microseconds: a float would drift.
create or replace function _jobs_schedule_next(schedule jobs_schedules, after timestamptz)
returns timestamptz
language plpgsql stable
set search_path from current
as $$
declare
    c_day_us constant bigint := 86400000000;
    v_after timestamptz := greatest(after, schedule.starts_at - interval '1 microsecond');
    v_start timestamptz := coalesce(schedule.starts_at, 'epoch');
    v_every_us bigint;
    v_us bigint;
    v_next timestamptz;
begin
    if schedule.cron is not null then
        v_next := _jobs_cron_next(schedule.cron, v_after, schedule.timezone);
    else
        v_every_us := extract(epoch from schedule.every) * 1000000;
        v_us := v_every_us * (1 + floor(
            (extract(epoch from v_after) - extract(epoch from v_start)) * 1000000 / v_every_us));
        v_next := _jobs_after(v_start, make_interval(days => (v_us / c_day_us)::int)
                                       + (v_us % c_day_us) * interval '1 microsecond');
    end if;
    return case when v_next <= least(schedule.ends_at, '9999-12-30 00:00:00+00') then v_next end;
end
$$;

comment on function _jobs_schedule_next is
    'internal: the first tick of a schedule after a moment; null: none';
