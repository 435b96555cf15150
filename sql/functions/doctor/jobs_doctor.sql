-- Runs with the rights of its caller, an observer at least, and says so where they do not suffice.
create or replace function jobs_doctor()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
as $$
select d.* from _jobs_doctor_jobs() d
union all
select d.* from _jobs_doctor_workers() d
union all
select d.* from _jobs_doctor_vacuum() d
union all
select d.* from _jobs_doctor_notify() d
union all
select d.* from _jobs_doctor_schema() d
$$;

comment on function jobs_doctor is
    'what is stuck and why: one row per check, its verdict ok, warn or bad, and what to do';
