-- retention: what the code of an app declares, an array of objects {"name", "status", "keep_for"},
-- with "job_type" where the rule is for one type. A change by hand is no difference, because what
-- code declared last is kept in the row. The verdicts: see _jobs_verdict. made, current: what the
-- row held when code made it, and holds now.
create or replace function _jobs_retention_diff(app text, retention jsonb)
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
    from jsonb_array_elements(_jobs_retention_diff.retention) i(item)
)
select coalesce(d.name, r.status || coalesce(' of ' || r.job_type, '')),
    _jobs_verdict(r.status is not null, r.declared, d.definition),
    d.definition, r.declared -> 'definition', (r.declared ->> 'at')::timestamptz,
    coalesce((r.declared ->> 'at')::timestamptz <> r.updated_at, r.status is not null),
    r.declared -> 'made',
    case when r.status is not null then jsonb_build_object('keep_for', r.keep_for) end
from defined d
full join jobs_retention r
    on r.status || coalesce(' of ' || r.job_type, '') = d.name
where d.name is not null or r.declared ->> 'app' = _jobs_retention_diff.app
order by 1
$$;

comment on function _jobs_retention_diff is
    'internal: how the retention that code declares differs from what code declared last';
