-- shown: what the clocks never show, since they are set forward past it. By halves of the minutes
-- between a moment before the change and one after it.
create or replace function _jobs_gap_end(shown timestamp, timezone text) returns timestamptz
language plpgsql stable
set search_path from current
as $$
declare
    v_before interval := _jobs_utc_offset(
        (shown - interval '1 day') at time zone 'UTC', timezone);
    v_after interval := _jobs_utc_offset((shown + interval '1 day') at time zone 'UTC', timezone);
    v_low timestamptz := shown at time zone 'UTC' - v_after;
    v_high timestamptz := shown at time zone 'UTC' - v_before;
    v_middle timestamptz;
begin
    while v_high - v_low > interval '1 minute' loop
        v_middle := v_low + date_trunc('minute', (v_high - v_low) / 2);
        if _jobs_utc_offset(v_middle, timezone) = v_before then
            v_low := v_middle;
        else
            v_high := v_middle;
        end if;
    end loop;
    return v_high;
end
$$;

comment on function _jobs_gap_end is
    'internal: when the clocks of a time zone go on, after they were set forward past this';
