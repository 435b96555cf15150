-- From now on producers notify this worker. The lock is refused while a producer that was silent
-- because of this worker has not committed: the worker then goes on polling and tries again. After
-- the change it must claim once more before it sleeps (docs/decisions/0004-notify-gate.md).
create or replace function _jobs_worker_listen(worker text) returns boolean
language plpgsql volatile security definer
set search_path from current
as $$
begin
    if not pg_try_advisory_lock(_jobs_advisory_key('listening', worker)) then
        return false;
    end if;
    update jobs_workers w set polling = false where w.worker = _jobs_worker_listen.worker;
    return true;
end
$$;

comment on function _jobs_worker_listen is
    'internal: the worker waits for NOTIFY from now on; false: a producer relies on its polling';
