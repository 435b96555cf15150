-- many: so many ended jobs without a rule are a warning. How many have ended is what the last
-- vacuum or analyze counted: ix_jobs_status has an entry for each job that is not pending.
create or replace function _jobs_doctor_retention(many bigint default 1000000)
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
as $$
with rules as (
    select r.status || coalesce(' of ' || r.job_type, '') as name, r.keep_for, r.error,
        clock_timestamp() - r.next_at as late
    from jobs_retention r
)
select 'retention',
    case when r.rules = 0 and c.reltuples >= many then 'warn' else 'ok' end,
    case when r.rules = 0
            then 'no rule; ' || case
                when c.reltuples < 1 then 'no job that has ended was counted yet'
                when c.reltuples = 1 then 'about 1 job has ended'
                else format('about %s jobs have ended', c.reltuples::bigint) end
        else r.detail end,
    'say how long they stay: pgjobs retain set completed 7d, or app.retain(...) in code; '
        'select jobs_retain(''completed'', ''1000 years'') says that they all stay'
from pg_class c, (
    select count(*) as rules, string_agg(format('%s %s', u.name, u.keep_for), ', '
                                         order by u.name) as detail
    from rules u
) r
where c.oid = 'ix_jobs_status'::regclass
union all
select 'overdue retention',
    case when count(*) > 0 then 'warn' else 'ok' end,
    coalesce(string_agg(format('%s (for %s)', u.name, date_trunc('second', u.late)), ', '
                        order by u.name), 'none'),
    'any running worker deletes: pgjobs worker MODULE:APP; without one: pgjobs cleanup'
from rules u where u.late > '10 minutes'
union all
select 'jobs that cannot be deleted',
    case when count(*) > 0 then 'bad' else 'ok' end,
    coalesce(string_agg(format('%s (%s)', u.name, u.error), ', ' order by u.name), 'none'),
    'change what keeps the job: a foreign key to jobs needs "on delete cascade" or "set null"; '
        'then give the rule again, by pgjobs retain set'
from rules u where u.error is not null
$$;

comment on function _jobs_doctor_retention is
    'internal: the doctor''s checks of how long ended jobs stay';
