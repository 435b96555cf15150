-- schedules: what the code of an app declares, an array of objects with the arguments of
-- jobs_schedule. What code declared last is kept in the row, beside what the row holds now, so a
-- change by hand is no difference. verdict:
--
-- - new: no schedule has the name. changed: the code declares it otherwise than code last did.
-- - older: code declared it like this once, and otherwise later. So this code is an older version,
--   or an older one is wanted back: nobody but a person knows.
-- - same. undeclared: this app declared it once, and does so no more.
create or replace function _jobs_schedules_diff(app text, schedules jsonb)
returns table (
    name text,
    verdict text,
    definition jsonb,
    declared jsonb,
    declared_at timestamptz,
    is_changed_by_hand boolean
)
language sql stable security definer
set search_path from current
as $$
with defined as (
    select i.item ->> 'name' as name, i.item - 'name' as definition
    from jsonb_array_elements(_jobs_schedules_diff.schedules) i(item)
)
select coalesce(d.name, s.name), case
        when s.name is null then 'new'
        when d.name is null then 'undeclared'
        when s.declared -> 'definition' = d.definition then 'same'
        when s.declared -> 'former' ? md5(d.definition::text) then 'older'
        else 'changed' end,
    d.definition, s.declared -> 'definition', (s.declared ->> 'at')::timestamptz,
    coalesce((s.declared ->> 'at')::timestamptz <> s.updated_at, s.name is not null)
from defined d
full join jobs_schedules s on s.name = d.name
where d.name is not null or s.declared ->> 'app' = _jobs_schedules_diff.app
order by 1
$$;

comment on function _jobs_schedules_diff is
    'internal: how the schedules that code declares differ from those that code declared last';
