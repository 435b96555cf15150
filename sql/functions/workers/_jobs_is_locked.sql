-- One expression takes and releases the lock: a query that is cancelled between two expressions
-- would keep the lock. PostgreSQL inlines this function, so it has no settings of its own.
create or replace function _jobs_is_locked(key bigint) returns boolean
language sql volatile
return case when pg_try_advisory_lock_shared(key) then not pg_advisory_unlock_shared(key)
    else true end;

comment on function _jobs_is_locked is
    'internal: whether another session holds this advisory lock exclusively';
