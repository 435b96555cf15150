-- Jitter of a quarter either way keeps jobs that failed together from coming back together.
create or replace function jobs_retry_delay(backoff interval[], retry int) returns interval
language sql volatile
set search_path from current
return coalesce(
    backoff[least(retry, cardinality(backoff))],
    make_interval(secs => least(2 ^ least(retry - 1, 12) * (0.75 + random() / 2), 3600)));

comment on function jobs_retry_delay is
    'the delay before a retry, counted from 1: of the list, or 1 s doubling to 1 h with jitter';
