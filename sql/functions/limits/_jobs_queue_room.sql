-- Two claims never exceed a queue's limits: each holds the queue's lock until its commit, and what
-- runs is counted by a statement that begins after the lock was obtained.
--
-- A claim waits for the lock, because a refused one would have to come again; but for less than
-- deadlock_timeout. A claim in a long transaction stops the queue for as long.
create or replace function _jobs_queue_room(settings jobs_queues, wanted int) returns int
language plpgsql volatile
set search_path from current
set lock_timeout = '50ms'
as $$
declare
    v_key constant bigint := _jobs_advisory_key('limits', settings.queue);
    v_room int := wanted;
begin
    perform _jobs_check_isolation();
    if not pg_try_advisory_xact_lock(v_key) then
        begin
            perform pg_advisory_xact_lock(v_key);
        exception
            when lock_not_available then return 0;
        end;
    end if;
    if settings.max_running is not null then
        v_room := least(v_room, settings.max_running - (
            select count(*) from (
                select from jobs j
                where j.status = 'processing' and j.queue = settings.queue
                limit settings.max_running) r)::int);
    end if;
    if settings.rate_count is not null then
        v_room := least(v_room, coalesce(
            (select _jobs_starts_room(s.moments, s.counts, settings.rate_count, settings.rate_period,
                                      clock_timestamp())
             from jobs_starts s where s.queue = settings.queue and s.group_key = ''),
            settings.rate_count));
    end if;
    return greatest(v_room, 0);
end
$$;

comment on function _jobs_queue_room is
    'internal: locks a queue''s limits, and says how many of its jobs may start now';
