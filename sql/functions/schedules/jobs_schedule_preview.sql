-- Acts as its owner, because an observer may not read the payloads in jobs_schedules.
create or replace function jobs_schedule_preview(
    name text default null,
    cron text default null,
    every interval default null,
    timezone text default 'UTC',
    ticks int default 5
) returns table (at timestamptz, local_time timestamp)
language plpgsql stable security definer
set search_path from current
as $$
declare
    v_schedule jobs_schedules;
begin
    if ticks is null or ticks not between 0 and 1000 then
        raise exception using errcode = 'JQ003',
            message = format('ticks must be from 0 to 1000, not %s', coalesce(ticks::text, 'null'));
    end if;
    if name is not null then
        select s.* into v_schedule from jobs_schedules s where s.name = jobs_schedule_preview.name;
        if not found then
            raise exception using errcode = 'JQ001',
                message = format('there is no schedule %s', left(name, 100)),
                hint = 'pgjobs schedule list shows all of them.';
        end if;
    else
        perform _jobs_check_schedule('preview', cron, every, timezone, 'latest', null, 'skip',
                                     null, null);
        v_schedule.cron := cron;
        v_schedule.every := every;
        v_schedule.timezone := coalesce(timezone, 'UTC');
    end if;
    at := clock_timestamp();
    for v_tick in 1 .. ticks loop
        at := _jobs_schedule_next(v_schedule, at);
        exit when at is null;
        local_time := at at time zone v_schedule.timezone;
        return next;
    end loop;
end
$$;

comment on function jobs_schedule_preview is
    'the next ticks of a schedule, or of what would be one, also as its time zone''s clocks show them';
