create or replace function _jobs_schedule_of(s jobs_schedules) returns jsonb
language sql stable
set search_path from current
return to_jsonb(s) - array['name', 'paused_at', 'next_at', 'last_at', 'recent_job_ids', 'error',
                           'declared', 'created_at', 'updated_at']
    || jsonb_build_object('paused', s.paused_at is not null);

comment on function _jobs_schedule_of is 'internal: what a schedule is set to, to compare it';
