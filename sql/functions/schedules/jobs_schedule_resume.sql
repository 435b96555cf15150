-- Two sessions cannot both win: the row is locked before it is read.
create or replace function jobs_schedule_resume(name text) returns setof jobs_schedules
language plpgsql volatile security definer rows 1
set search_path from current
as $$
declare
    v_schedule jobs_schedules := _jobs_schedule_lock(name);
begin
    return query
    update jobs_schedules s
    set next_at = case when s.paused_at is null then s.next_at
            else _jobs_schedule_next(v_schedule, clock_timestamp()) end,
        paused_at = null,
        updated_at = clock_timestamp()
    where s.name = jobs_schedule_resume.name
    returning s.*;
    perform _jobs_schedule_signal(name);
    perform _jobs_audit_note('schedule_resume', filters => jsonb_build_object('name', name));
end
$$;

comment on function jobs_schedule_resume is
    'lets a paused schedule fire again, from its next tick on';
