-- A worker rests: from now on producers notify. Refused while a producer that counted on it being
-- awake has not committed; the worker then goes on looking by itself and tries again. Once it rests
-- it must claim once more before it sleeps.
create or replace function jobs_worker_rest(worker text) returns boolean
language plpgsql volatile security definer
set search_path from current
as $$
begin
    if not pg_try_advisory_lock(jobs_lock_key('rest', worker)) then
        return false;
    end if;
    update jobs_workers w set awake = false where w.worker = jobs_worker_rest.worker;
    return true;
end
$$;

comment on function jobs_worker_rest is
    'internal: the worker will wait for NOTIFY; false: a producer counts on it, look again first';
