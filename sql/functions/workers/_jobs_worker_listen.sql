-- A worker rests: from now on producers notify. Refused while a producer that counted on it being
-- awake has not committed; the worker then goes on looking by itself and tries again. Once it rests
-- it must claim once more before it sleeps.
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
    'internal: the worker will wait for NOTIFY; false: a producer counts on it, look again first';
