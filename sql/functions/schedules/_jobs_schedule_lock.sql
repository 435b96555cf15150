create or replace function _jobs_schedule_lock(name text) returns jobs_schedules
language plpgsql volatile
set search_path from current
as $$
declare
    v_schedule jobs_schedules;
begin
    select s.* into v_schedule from jobs_schedules s
    where s.name = _jobs_schedule_lock.name
    for update;
    if not found then
        raise exception using errcode = 'JQ001',
            message = format('there is no schedule %s', coalesce(left(name, 100), 'null')),
            hint = 'pgjobs schedule list shows all of them.';
    end if;
    return v_schedule;
end
$$;

comment on function _jobs_schedule_lock is 'internal: locks a schedule and returns it, or raises';
