-- So that jobs that failed together do not retry together, the delay has a jitter of 25 % either
-- way. The bound of an hour includes the jitter, so that jobs are spread at the bound too. A delay
-- that is not valid counts as none: a run_at that no row can hold would make every recovery fail.
create or replace function _jobs_retry_delay(backoff interval[], retry int) returns interval
language sql volatile
set search_path from current
begin atomic
    select coalesce(
        case when b.delay between '0' and '100 years'
            and extract(year from b.delay) between 0 and 100 then b.delay end,
        make_interval(
            secs => d.shortest + random() * (least(d.shortest / 3 * 5, 3600) - d.shortest)))
    from (values (0.75 * least(2 ^ least(retry - 1, 12), 3600))) d(shortest),
        (values (backoff[least(retry, cardinality(backoff))])) b(delay);
end;

comment on function _jobs_retry_delay is
    'internal: the delay before retry 1, 2, ...: from backoff, or 1 s doubling to 1 h';
