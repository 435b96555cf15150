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
        select w.worker, w.name_key, t.missed_at, t.worker is null as unseen
        from jobs_workers w left join jobs_worker_ticks t on t.worker = w.worker
        where not _jobs_is_locked(w.name_key)
        order by w.worker
    loop
        continue when _jobs_session_holds(v_worker.name_key);
        if v_worker.unseen then
            insert into jobs_worker_ticks as t (worker, missed_at) values (v_worker.worker, v_now)
            on conflict do nothing;
        elsif v_worker.missed_at is null then
            -- A session that has locked the row is at a tick, or marks the worker itself.
            update jobs_worker_ticks t set missed_at = v_now
            where t.worker = any (array(
                select m.worker from jobs_worker_ticks m
                where m.worker = v_worker.worker and m.missed_at is null
                for no key update skip locked));
        elsif v_worker.missed_at <= v_now - interval '2 seconds' then
            v_gone := v_gone || v_worker.worker;
        end if;
    end loop;
    return v_gone;
end
$$;

comment on function _jobs_workers_gone is
    'internal: sets missed_at; returns workers found gone twice, at least 2 s apart';
