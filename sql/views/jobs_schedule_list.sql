-- What an observer may see of each schedule: not the payload, nor what code declared. The error may
-- quote the payload, so only roles that may read the table itself see the error.
create or replace view jobs_schedule_list as
select s.name,
    s.job_type,
    s.cron,
    s.every,
    s.timezone,
    s.queue,
    s.priority,
    s.max_retries,
    s.group_key,
    s.missed,
    s.missed_within,
    s.overlap,
    s.starts_at,
    s.ends_at,
    s.paused_at,
    s.next_at,
    s.last_at,
    s.recent_job_ids,
    s.declared is not null as is_declared,
    s.created_at,
    s.updated_at,
    case when has_table_privilege('jobs_schedules'::regclass, 'select') then s.error end as error
from jobs_schedules s;

comment on view jobs_schedule_list is
    'schedules without payloads; is_declared: code declares or declared it';
