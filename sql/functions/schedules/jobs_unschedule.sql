-- Two sessions cannot both win: the row is locked before it is deleted.
create or replace function jobs_unschedule(name text) returns setof jobs_schedules
language plpgsql volatile security definer rows 1
set search_path from current
as $$
begin
    perform _jobs_schedule_lock(name);
    return query
    delete from jobs_schedules s where s.name = jobs_unschedule.name returning s.*;
    perform _jobs_audit_note('unschedule', filters => jsonb_build_object('name', name));
end
$$;

comment on function jobs_unschedule is 'removes a schedule; its jobs stay';
