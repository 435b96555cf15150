-- From now on producers notify this worker. The worker does not get the lock while a producer that
-- was silent because of it has a transaction open: the worker polls on and tries again. After the
-- change the worker claims once more before it sleeps (docs/decisions/0004-notify-gate.md).
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
    'internal: the worker waits for NOTIFY from now on; false: it must poll for a producer';
