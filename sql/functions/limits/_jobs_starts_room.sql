-- The rule: at most `allowed` starts in any window as long as the period, wherever it begins. A
-- token bucket of n tokens would allow 2n - 1 in one period.
create or replace function _jobs_starts_room(
    moments timestamptz[],
    counts int[],
    allowed int,
    period interval,
    at timestamptz
) returns int
language sql immutable
set search_path from current
as $$
select greatest(allowed - coalesce(sum(s.starts), 0), 0)::int
from unnest(moments, counts) s(moment, starts)
where s.moment > _jobs_after(at, -period)
$$;

comment on function _jobs_starts_room is
    'internal: how many more may start at that moment, given the starts before';
