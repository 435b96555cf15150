-- schedules: what the code of an app declares, an array of objects with the arguments of
-- jobs_schedule. What code declared last is kept in the row, beside what the row holds now, so a
-- change by hand is no difference. The verdicts: see _jobs_verdict. made, current: what the row held
-- when code made it, and holds now.
create or replace function _jobs_schedules_diff(app text, schedules jsonb)
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
    from jsonb_array_elements(_jobs_schedules_diff.schedules) i(item)
)
select coalesce(d.name, s.name), _jobs_verdict(s.name is not null, s.declared, d.definition),
    d.definition, s.declared -> 'definition', (s.declared ->> 'at')::timestamptz,
    coalesce((s.declared ->> 'at')::timestamptz <> s.updated_at, s.name is not null),
    s.declared -> 'made', case when s.name is not null then _jobs_schedule_of(s) end
from defined d
full join jobs_schedules s on s.name = d.name
where d.name is not null or s.declared ->> 'app' = _jobs_schedules_diff.app
order by 1
$$;

comment on function _jobs_schedules_diff is
    'internal: how the schedules that code declares differ from those that code declared last';
