-- The next tick is computed once more, since that may be what fails: then it is tried in a minute.
create or replace function _jobs_schedule_fail(
    schedule jobs_schedules,
    at timestamptz,
    error text
) returns void
language plpgsql volatile
set search_path from current
as $$
declare
    v_next timestamptz;
begin
    begin
        v_next := _jobs_schedule_next(schedule, at);
    exception when others then
        v_next := _jobs_after(at, '1 minute');
    end;
    update jobs_schedules s
    set next_at = v_next, error = _jobs_schedule_fail.error
    where s.name = schedule.name;
end
$$;

comment on function _jobs_schedule_fail is
    'internal: notes why a locked schedule could add no job, and sets its next tick';
