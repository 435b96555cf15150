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
begin
    perform _jobs_check_isolation();
    if not pg_try_advisory_xact_lock(v_key) then
        begin
            perform pg_advisory_xact_lock(v_key);
        exception
            when lock_not_available then return 0;
        end;
    end if;
    return least(wanted, _jobs_queue_room_now(settings, clock_timestamp()));
end
$$;

comment on function _jobs_queue_room is
    'internal: locks a queue''s limits, and says how many of its jobs may start now';
