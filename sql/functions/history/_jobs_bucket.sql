-- Of a histogram of durations: 1 for less than 2 ms, then twice as long each, 22 for less than 4,194 s,
-- and 23 for longer. A worker computes the same (pgjobs/worker/ends.py).
--
-- Without settings, so that PostgreSQL inlines it: a call would take ten times as long.
create or replace function _jobs_bucket(seconds float8) returns int
language sql immutable parallel safe
return 1 + width_bucket(seconds, array[
    0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192,
    16.384, 32.768, 65.536, 131.072, 262.144, 524.288, 1048.576, 2097.152, 4194.304]::float8[]);

comment on function _jobs_bucket is
    'internal: where a duration counts in a histogram of jobs_history';
