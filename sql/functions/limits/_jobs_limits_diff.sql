-- limits: what the code of an app declares, an array of objects with the arguments of jobs_limit;
-- `name` is the queue. A change by hand is no difference, because what code declared last is kept
-- in the row. The verdicts: see _jobs_verdict. A queue whose limits somebody has removed by hand is
-- there: what code declared last still stands in its row. made, current: what the row held then, and
-- holds now.
create or replace function _jobs_limits_diff(app text, limits jsonb)
returns table (
    name text,
    verdict text,
    definition jsonb,
    declared jsonb,
    declared_at timestamptz,
    is_changed_by_hand boolean,
    made jsonb,
    current jsonb
)
language sql stable security definer
set search_path from current
as $$
with defined as (
    select i.item ->> 'name' as name, i.item - 'name' as definition
    from jsonb_array_elements(_jobs_limits_diff.limits) i(item)
), there as (
    select q.queue, q.declared, _jobs_limits_of(q) as limits from jobs_queues q
    where q.declared is not null
        or num_nonnulls(q.max_running, q.max_running_per_group, q.rate_count,
                        q.group_rate_count) > 0
)
select coalesce(d.name, t.queue), _jobs_verdict(t.queue is not null, t.declared, d.definition),
    d.definition, t.declared -> 'definition', (t.declared ->> 'at')::timestamptz,
    coalesce(t.declared -> 'made' <> t.limits, t.queue is not null),
    t.declared -> 'made', t.limits
from defined d
full join there t on t.queue = d.name
where d.name is not null or t.declared ->> 'app' = _jobs_limits_diff.app
order by 1
$$;

comment on function _jobs_limits_diff is
    'internal: how the limits that code declares differ from those that code declared last';
