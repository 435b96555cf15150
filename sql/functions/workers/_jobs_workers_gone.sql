-- A living worker's session holds the advisory lock of the worker's name. A lock that is found free
-- once may belong to a connection that was cut and is being replaced. A lock that is found free
-- twice, at least 2 s apart, means that the worker is dead
-- (docs/decisions/0008-death-by-session.md). This function never waits for such a lock, because a
-- session that waits for an advisory lock holds back vacuum everywhere. It updates in the
-- order of names, so that two calls of it do not deadlock.
create or replace function _jobs_workers_gone() returns text[]
language plpgsql volatile
set search_path from current
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_worker record;
    v_gone text[] := '{}';
begin
    for v_worker in
        select w.worker, w.missed_at, w.name_key from jobs_workers w order by w.worker
    loop
        -- In one expression: a query that is cancelled between two would keep the lock.
        continue when not case when pg_try_advisory_lock_shared(v_worker.name_key)
            then pg_advisory_unlock_shared(v_worker.name_key) else false end;
        -- A session gets a lock that it holds already: ask pg_locks.
        continue when exists (
            select from pg_locks l
            where l.locktype = 'advisory' and l.pid = pg_backend_pid()
                and l.mode = 'ExclusiveLock' and l.objsubid = 1
                and (l.classid::bigint << 32 | l.objid::bigint) = v_worker.name_key);
        if v_worker.missed_at is null then
            -- A session that has locked the row is at a tick, or marks the worker itself.
            update jobs_workers w set missed_at = v_now
            where w.worker = any (array(
                select m.worker from jobs_workers m
                where m.worker = v_worker.worker and m.missed_at is null
                for update skip locked));
        elsif v_worker.missed_at <= v_now - interval '2 seconds' then
            v_gone := v_gone || v_worker.worker;
        end if;
    end loop;
    return v_gone;
end
$$;

comment on function _jobs_workers_gone is
    'internal: sets missed_at; returns workers found gone twice, at least 2 s apart';
