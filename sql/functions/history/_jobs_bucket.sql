-- Of a histogram of durations: 1 for up to 2 ms, then twice as long each, 22 for up to 4,194 s, and 23
-- for longer. The worker computes the same (pgjobs/worker/ends.py).
create or replace function _jobs_bucket(seconds float8) returns int
language sql immutable parallel safe
set search_path from current
return case
    when seconds <= 0.002 then 1
    when seconds > 0.001 * (1 << 22) then 23
    else ceil(log(2::numeric, (seconds * 1000)::numeric))::int
end;

comment on function _jobs_bucket is
    'internal: where a duration counts in a histogram of jobs_history';
