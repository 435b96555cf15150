-- In which order the jobs of a group start: first those that have begun before (-9 to 9), then the
-- others (11 to 29); among both the higher priority first. ix_jobs_group has this expression.
-- PostgreSQL inlines this function, so it has no settings of its own.
create or replace function _jobs_rank(attempt int, priority int) returns int
language sql immutable
return (attempt = 0)::int * 20 - priority;

comment on function _jobs_rank is
    'internal: a job''s rank in its group: first what has begun before, then by priority';
