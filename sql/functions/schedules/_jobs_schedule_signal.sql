-- Tells workers, on commit, that a schedule is new or was changed: they may sleep past its moment.
create or replace function _jobs_schedule_signal(name text) returns void
language sql volatile
set search_path from current
as $$
select pg_notify(jobs_channel('jobs_signal'), 'schedule ' || name)
where pg_notification_queue_usage() < 0.5
$$;

comment on function _jobs_schedule_signal is
    'internal: tells workers that the next moment of a schedule may have come nearer';
