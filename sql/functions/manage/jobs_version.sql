create or replace function jobs_version() returns text
language sql immutable
set search_path from current
return '0.1.0';

comment on function jobs_version is 'which release of pgjobs made these functions';
