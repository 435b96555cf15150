-- As histogram_quantile of Prometheus: within a bucket the durations count as evenly spread. Of those
-- longer than the last bound only that bound is known.
create or replace function jobs_quantile(counts bigint[], fraction float8 default 0.5)
returns float8
language sql immutable parallel safe
set search_path from current
begin atomic
    select case
        when b.place = cardinality(counts) then b.lower_s
        else b.lower_s + (b.upper_s - b.lower_s) * (b.rank - b.below) / b.jobs end
    from (
        select u.jobs, u.place, sum(u.jobs) over (order by u.place) - u.jobs as below,
            case when u.place > 1 then 0.001 * 2 ^ (u.place - 1) else 0 end as lower_s,
            0.001 * 2 ^ u.place as upper_s,
            fraction * sum(u.jobs) over () as rank
        from unnest(counts) with ordinality u(jobs, place)
    ) b
    where b.jobs > 0 and b.below + b.jobs >= b.rank and fraction between 0 and 1
    order by b.place
    limit 1;
end;

comment on function jobs_quantile is
    'seconds below which this fraction of the durations lies; counts: waits or runs of jobs_history';
