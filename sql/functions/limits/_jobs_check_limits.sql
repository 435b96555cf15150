create or replace function _jobs_check_limits(
    max_running int,
    max_running_per_group int,
    rate_count int,
    rate_period interval,
    group_rate_count int,
    group_rate_period interval
) returns void
language plpgsql immutable
set search_path from current
as $$
declare
    v_problem text;
begin
    v_problem := case
        when max_running < 0 then
            format('max_running must be at least 0, not %s; null: no limit', max_running)
        when max_running_per_group < 0 then
            format('max_running_per_group must be at least 0, not %s; null: no limit',
                   max_running_per_group)
        when num_nonnulls(rate_count, rate_period) = 1 then
            'rate_count and rate_period go together: give both or neither'
        when num_nonnulls(group_rate_count, group_rate_period) = 1 then
            'group_rate_count and group_rate_period go together: give both or neither'
        when rate_count < 1 then format('rate_count must be at least 1, not %s', rate_count)
        when group_rate_count < 1 then
            format('group_rate_count must be at least 1, not %s', group_rate_count)
        when rate_period not between '10 ms' and '366 days' then
            format('rate_period must be from 10 ms to 366 days, not %s', rate_period)
        when group_rate_period not between '10 ms' and '366 days' then
            format('group_rate_period must be from 10 ms to 366 days, not %s', group_rate_period)
    end;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
end
$$;

comment on function _jobs_check_limits is 'internal: raises if a limit is invalid';
