-- A worker's session holds its name's lock. Found free once may be a connection that was cut and is
-- being replaced; found free twice, 2 s apart, is a death. `try`, never wait: a session that waits
-- for an advisory lock holds back vacuum everywhere. In order of name, so that two sessions that
-- find the same workers missing do not deadlock.
create or replace function _jobs_workers_gone() returns text[]
language plpgsql volatile
set search_path from current
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_worker record;
    v_key bigint;
    v_gone text[] := '{}';
begin
    for v_worker in select w.worker, w.missed_at from jobs_workers w order by w.worker loop
        v_key := _jobs_advisory_key('name', v_worker.worker);
        -- One expression: a query that is cancelled in between would keep the name for ever.
        continue when not case when pg_try_advisory_lock_shared(v_key)
            then pg_advisory_unlock_shared(v_key) else false end;
        -- A session is not refused what it holds itself.
        continue when exists (
            select from pg_locks l
            where l.locktype = 'advisory' and l.pid = pg_backend_pid()
                and l.mode = 'ExclusiveLock' and l.objsubid = 1
                and (l.classid::bigint << 32 | l.objid::bigint) = v_key);
        if v_worker.missed_at is null then
            update jobs_workers w set missed_at = v_now
            where w.worker = v_worker.worker and w.missed_at is null;
        elsif v_worker.missed_at <= v_now - interval '2 seconds' then
            v_gone := v_gone || v_worker.worker;
        end if;
    end loop;
    return v_gone;
end
$$;

comment on function _jobs_workers_gone is
    'internal: the registered workers whose session was found gone twice, 2 s apart';
