-- By default 5 s, six times as long for each further retry, up to an hour. So that jobs that failed
-- together do not retry together, the default has a jitter of a quarter either way. A delay that is
-- not valid counts as none: a run_at that no row can hold would make every recovery fail.
create or replace function _jobs_retry_delay(backoff interval[], retry int) returns interval
language sql volatile
set search_path from current
begin atomic
    select coalesce(
        case when b.delay between '0' and '100 years'
            and extract(year from b.delay) between 0 and 100 then b.delay end,
        make_interval(secs => least(5 * 6 ^ least(retry - 1, 4), 3600) * (0.75 + random() / 2)))
    from (values (backoff[least(retry, cardinality(backoff))])) b(delay);
end;

comment on function _jobs_retry_delay is
    'internal: the delay before retry 1, 2, ...: from backoff, or 5 s to 1 h';
