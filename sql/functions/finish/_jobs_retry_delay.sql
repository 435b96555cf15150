-- Jitter of a quarter either way keeps jobs that failed together from coming back together. It is
-- drawn within the hour that bounds it, so that they are spread at the bound too.
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
    'the delay before a retry, counted from 1: of the list, or 1 s doubling to 1 h with jitter';
