-- A session gets a lock that it holds already, so only pg_locks tells. It shows a key in two
-- halves.
create or replace function _jobs_session_holds(key bigint) returns boolean
language sql volatile
set search_path from current
return exists (
    select from pg_locks l
    where l.locktype = 'advisory' and l.pid = pg_backend_pid() and l.mode = 'ExclusiveLock'
        and l.objsubid = 1 and (l.classid::bigint << 32 | l.objid::bigint) = key);

comment on function _jobs_session_holds is
    'internal: whether this session holds this advisory lock exclusively';
