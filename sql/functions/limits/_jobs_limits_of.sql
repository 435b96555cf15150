create or replace function _jobs_limits_of(q jobs_queues) returns jsonb
language sql immutable
set search_path from current
return jsonb_build_object(
    'max_running', q.max_running, 'max_running_per_group', q.max_running_per_group,
    'rate_count', q.rate_count, 'rate_period', q.rate_period,
    'group_rate_count', q.group_rate_count, 'group_rate_period', q.group_rate_period,
    'in_order', q.in_order);

comment on function _jobs_limits_of is 'internal: the limits of a queue, to compare them';
