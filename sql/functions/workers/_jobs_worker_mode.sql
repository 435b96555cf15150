-- Two sessions cannot both win the last place among the pollers of a queue: each place is an
-- advisory lock that one session gets. This function never waits for a lock.
--
-- At most two workers poll a queue: two are enough to share its jobs, and each further one would
-- only send more empty claims.
create or replace function _jobs_worker_mode(worker text, mode text) returns boolean
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_me jobs_workers;
    v_key bigint;
    v_places bigint[] := '{}';
begin
    select w.* into v_me from jobs_workers w where w.worker = _jobs_worker_mode.worker;
    if not found then
        return false;
    end if;
    if mode = 'polling' then
        if _jobs_session_holds(v_me.polling_key) then
            return true;
        end if;
        for v_key in
            select case when pg_try_advisory_lock(p.first) then p.first
                        when pg_try_advisory_lock(p.second) then p.second end
            from (select _jobs_advisory_key('polling 1', q.queue),
                         _jobs_advisory_key('polling 2', q.queue)
                  from (select distinct unnest(v_me.queues)) q(queue)) p(first, second)
        loop
            v_places := v_places || v_key;
        end loop;
        if array_position(v_places, null) is not null then
            perform pg_advisory_unlock(p.place) from unnest(v_places) p(place)
            where p.place is not null;
            return false;
        end if;
        perform pg_advisory_lock(v_me.polling_key);
        -- From now on producers are silent, so the other workers have to look by themselves.
        perform pg_notify(jobs_channel('jobs_signal'), 'polling ' || q.queue)
        from unnest(v_me.queues) q(queue)
        where pg_notification_queue_usage() < 0.5;
    elsif _jobs_session_holds(v_me.polling_key) then
        perform pg_advisory_unlock(v_me.polling_key);
        perform pg_advisory_unlock(p.place)
        from unnest(v_me.queues) q(queue)
        cross join lateral (values (_jobs_advisory_key('polling 1', q.queue)),
                                   (_jobs_advisory_key('polling 2', q.queue))) p(place)
        where _jobs_session_holds(p.place);
    end if;
    if mode = 'listening' and not _jobs_session_holds(v_me.listening_key) then
        perform pg_advisory_lock(v_me.listening_key);
    elsif mode <> 'listening' and _jobs_session_holds(v_me.listening_key) then
        perform pg_advisory_unlock(v_me.listening_key);
    end if;
    return true;
end
$$;

comment on function _jobs_worker_mode is
    'internal: changes to mode listening, polling or full; false: two workers poll already';
