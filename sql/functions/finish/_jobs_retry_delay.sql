-- A jitter of a quarter either way keeps jobs that failed together from coming back together. The
-- bound of an hour holds for the delay with its jitter, so that jobs are spread at the bound too.
create or replace function _jobs_retry_delay(backoff interval[], retry int) returns interval
language sql volatile
set search_path from current
begin atomic
    select coalesce(
        backoff[least(retry, cardinality(backoff))],
        make_interval(
            secs => d.shortest + random() * (least(d.shortest / 3 * 5, 3600) - d.shortest)))
    from (values (0.75 * least(2 ^ least(retry - 1, 12), 3600))) d(shortest);
end;

comment on function _jobs_retry_delay is
    'internal: the delay before a retry, counted from 1: from the list, or 1 s doubling to 1 h';
