-- Tells workers, on commit, when a schedule is due that is new or was changed: they may sleep.
create or replace function _jobs_schedule_signal(name text) returns void
language sql volatile
set search_path from current
as $$
select pg_notify(jobs_channel('jobs_signal'),
                 'schedule ' || (extract(epoch from s.next_at) * 1000000)::bigint)
from jobs_schedules s
where s.name = _jobs_schedule_signal.name and s.paused_at is null and s.next_at is not null
    and pg_notification_queue_usage() < 0.5
$$;

comment on function _jobs_schedule_signal is
    'internal: tells workers when a schedule is due, so that they fire it at its moment';
