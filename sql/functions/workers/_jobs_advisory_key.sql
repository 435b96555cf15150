create or replace function _jobs_advisory_key(kind text, worker text) returns bigint
language sql stable
set search_path from current
return hashtextextended(format('pgjobs.%s.%s.%s', kind, current_schema(), worker), 0);

comment on function _jobs_advisory_key is
    'internal: the key of an advisory lock of a worker; kind: name or listening';
