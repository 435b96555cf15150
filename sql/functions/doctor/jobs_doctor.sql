-- Runs with the rights of its caller, who is an observer at least, and says where those do not
-- suffice. The checks always give their advice, which is shown only where something is wrong.
create or replace function jobs_doctor()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
as $$
select d.check_name, d.verdict, d.detail, case when d.verdict <> 'ok' then d.advice end
from (
    select l.* from _jobs_doctor_leases() l
    union all
    select w.* from _jobs_doctor_workers() w
    union all
    select t.* from _jobs_doctor_limits() t
    union all
    select k.* from _jobs_doctor_held() k
    union all
    select f.* from _jobs_doctor_flows() f
    union all
    select c.* from _jobs_doctor_schedules() c
    union all
    select r.* from _jobs_doctor_retention() r
    union all
    select h.* from _jobs_doctor_history() h
    union all
    select v.* from _jobs_doctor_vacuum() v
    union all
    select n.* from _jobs_doctor_notify() n
    union all
    select s.* from _jobs_doctor_schema() s
) d
$$;

comment on function jobs_doctor is
    'what is stuck and why: one row per check, its verdict ok, warn or bad, and what to do';
