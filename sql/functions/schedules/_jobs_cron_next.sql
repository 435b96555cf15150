-- Goes from day to day, by the clocks of the time zone, and within a day to its first moment after
-- `after`. On a day on which the clocks are changed:
--
-- - An expression with fixed hours and minutes fires once for each of its times: at the first pass
--   of an hour that is repeated, and right after an hour that is left out.
-- - Any other fires at each minute that really passes and fits.
--
-- That is what Debian's cron does (cron(8), "Notes"). A time that is left out may come after
-- midnight, hence the day before the first one.
create or replace function _jobs_cron_next(cron text, after timestamptz, timezone text)
returns timestamptz
language plpgsql stable
set search_path from current
as $$
declare
    c_day constant interval := '1 day';
    v_fields record;
    v_until timestamptz := ((after at time zone 'UTC') + interval '8 years') at time zone 'UTC';
    v_last_day date := (v_until at time zone timezone)::date + 1;
    v_day date := (after at time zone timezone)::date - 1;
    v_fits_day boolean;
    v_fits_weekday boolean;
    v_offset interval;
    v_changes boolean;
    v_next timestamptz;
begin
    v_fields := _jobs_cron_fields(cron);
    while v_day <= v_last_day loop
        if extract(month from v_day) <> all (v_fields.months) then
            v_day := date_trunc('month', v_day) + interval '1 month';
            continue;
        end if;
        v_fits_day := extract(day from v_day) = any (v_fields.days);
        v_fits_weekday := extract(dow from v_day) = any (v_fields.weekdays);
        if v_fits_day and v_fits_weekday
            or (v_fits_day or v_fits_weekday) and not v_fields.needs_both_days
        then
            v_offset := _jobs_utc_offset((v_day - c_day) at time zone 'UTC', timezone);
            v_changes := v_offset <> _jobs_utc_offset(
                (v_day + 2 * c_day) at time zone 'UTC', timezone);
            select min(m.moment) into v_next
            from unnest(v_fields.hours) hour
            cross join unnest(v_fields.minutes) minute
            cross join lateral (select v_day + make_time(hour, minute, 0)) t(shown)
            cross join lateral unnest(case
                when not v_changes then array[(t.shown at time zone 'UTC') - v_offset]
                when not v_fields.is_at_fixed_times then _jobs_local_moments(t.shown, timezone)
                else array[coalesce((_jobs_local_moments(t.shown, timezone))[1],
                                    _jobs_gap_end(t.shown, timezone))]
            end) m(moment)
            where m.moment > after;
            if v_next is not null then
                return case when v_next <= v_until then v_next end;
            end if;
        end if;
        v_day := v_day + 1;
    end loop;
    return null;
end
$$;

comment on function _jobs_cron_next is
    'internal: jobs_cron_next for a time zone that is known';
