-- PostgreSQL inlines this function into the queries of claims, so it has no settings of its own.
-- Its body names nothing that a search_path could change.
create or replace function _jobs_is_suspect(crash_count int, max_retries int) returns boolean
language sql immutable
return crash_count > 0 and crash_count >= least(max_retries, 2);

comment on function _jobs_is_suspect is
    'internal: whether a job may kill its worker: lost twice, or max_retries times';
