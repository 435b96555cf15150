-- Two sessions cannot both win: the row is locked before it is read.
create or replace function jobs_schedule_pause(name text) returns setof jobs_schedules
language plpgsql volatile security definer rows 1
set search_path from current
as $$
begin
    perform _jobs_schedule_lock(name);
    return query
    update jobs_schedules s
    set paused_at = coalesce(s.paused_at, clock_timestamp()), updated_at = clock_timestamp()
    where s.name = jobs_schedule_pause.name
    returning s.*;
    perform _jobs_audit_note('schedule_pause', filters => jsonb_build_object('name', name));
end
$$;

comment on function jobs_schedule_pause is 'pauses a schedule: its ticks pass, and are not missed';
