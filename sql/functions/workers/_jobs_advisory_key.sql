-- The seed is the table's oid, so that two schemas of one database never share a lock.
create or replace function _jobs_advisory_key(kind text, name text) returns bigint
language sql stable
set search_path from current
return hashtextextended(kind || ' ' || name, 'jobs'::regclass::oid::bigint);

comment on function _jobs_advisory_key is
    'internal: the key of an advisory lock; kind: name (of a worker), gate or polling (of a queue),'
    ' circles, history';
