-- NOTIFY takes a lock that is one for the whole cluster and holds it while the commit is flushed to
-- disk: sixteen producers then commit one after the other. So it is left out when an awake worker
-- is certain to claim after this transaction's commit. docs/decisions/0004-notify-gate.md argues it:
-- the shared lock taken here is held until after that commit, and a worker that wants to rest must
-- get it exclusively and then claim once more; if it is refused here, that worker rests: notify.
-- The second try tells a living worker from a row that a dead one left behind.
create or replace function jobs_is_awaited(
    queue text,
    job_types text[],
    due_now boolean
) returns boolean
language plpgsql volatile
set search_path from current
as $$
declare
    v_worker text;
    v_name bigint;
begin
    if not due_now then
        return false;
    end if;
    for v_worker in
        select w.worker from jobs_workers w
        where w.awake
            and jobs_is_awaited.queue = any (w.queues)
            and (w.job_types is null or jobs_is_awaited.job_types <@ w.job_types)
    loop
        if pg_try_advisory_xact_lock_shared(jobs_lock_key('rest', v_worker)) then
            v_name := jobs_lock_key('name', v_worker);
            -- One expression: a query that is cancelled in between would keep the name for ever.
            if not case when pg_try_advisory_lock_shared(v_name)
                then pg_advisory_unlock_shared(v_name) else false end
            then
                return true;
            end if;
        end if;
    end loop;
    return false;
end
$$;

comment on function jobs_is_awaited is
    'internal: whether an awake worker is certain to look for such jobs after this commit';
