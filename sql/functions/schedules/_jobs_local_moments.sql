-- In the hour that a change of the clocks repeats there are two, in the hour that a change leaves
-- out there is none. `at time zone` alone would give one in each case. No zone has two changes
-- within two days.
create or replace function _jobs_local_moments(shown timestamp, timezone text)
returns timestamptz[]
language sql stable
set search_path from current
as $$
select array(
    select distinct m.moment
    from (values (shown - interval '1 day'), (shown + interval '1 day')) beside(at)
    cross join lateral (
        select shown at time zone 'UTC' - _jobs_utc_offset(beside.at at time zone 'UTC', timezone)
    ) m(moment)
    where m.moment at time zone timezone = shown
    order by m.moment)
$$;

comment on function _jobs_local_moments is
    'internal: the moments at which the clocks of a time zone show this';
