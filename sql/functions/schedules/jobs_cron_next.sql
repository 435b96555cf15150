-- Acts as its owner, so that who calls it needs no right to call what it calls.
create or replace function jobs_cron_next(
    cron text,
    after timestamptz default null,
    timezone text default 'UTC'
) returns timestamptz
language plpgsql stable security definer
set search_path from current
as $$
declare
    v_after timestamptz := coalesce(after, clock_timestamp());
begin
    perform _jobs_check_timezone(timezone);
    if not (v_after >= '0001-01-03 00:00:00+00' and v_after < '9990-01-01 00:00:00+00') then
        raise exception using errcode = 'JQ003',
            message = format('after must be a moment in the years 1 to 9989, not %s', v_after);
    end if;
    return _jobs_cron_next(cron, v_after, coalesce(timezone, 'UTC'));
end
$$;

comment on function jobs_cron_next is
    'the next moment of a cron expression after another one; null: none within 8 years';
