-- Acts as its owner, because an observer may not read the payloads in jobs_schedules.
create or replace function _jobs_doctor_schedules()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile security definer
set search_path from current
as $$
with active as (
    select s.* from jobs_schedules s where s.paused_at is null and s.next_at is not null
), late as (
    select s.name, clock_timestamp() - s.next_at as age
    from active s where s.next_at < clock_timestamp() - interval '1 minute'
), connected as (
    select w.queues, w.job_types
    from jobs_workers w
    join _jobs_worker_modes() m on m.worker = w.worker
    where m.mode <> 'gone'
), unserved as (
    select s.name, s.job_type, s.queue from active s
    where exists (select from connected)
        and not exists (
            select from connected c
            where s.queue = any (c.queues)
                and (c.job_types is null or s.job_type = any (c.job_types)))
), runs as (
    -- A job that is deleted has mostly been completed.
    select s.name, s.overlap, r.place, coalesce(j.status, 'completed') as status,
        j.started_at is null as is_unstarted,
        row_number() over (partition by s.name, j.status in ('pending', 'processing') is true
                           order by r.place) as place_among_such
    from active s
    cross join lateral unnest(s.recent_job_ids) with ordinality r(job_id, place)
    left join jobs j on j.id = r.job_id
), ended as (
    select r.* from runs r where r.status not in ('pending', 'processing')
), failing as (
    select e.name from ended e
    where e.place_among_such <= 3
    group by 1
    having count(*) filter (where e.status = 'failed') = 3
), starving as (
    -- Three ticks have passed since that of the job that is in the way.
    select s.name from active s
    join runs r on r.name = s.name and r.place = 1 and r.status in ('pending', 'processing')
    cross join lateral (select _jobs_schedule_next(s, s.last_at) as at) first
    cross join lateral (select _jobs_schedule_next(s, first.at) as at) second
    where s.overlap = 'skip' and _jobs_schedule_next(s, second.at) <= clock_timestamp()
    union
    select e.name from ended e
    where e.overlap = 'replace' and e.place_among_such <= 3
    group by 1
    having count(*) filter (where e.status = 'cancelled' and e.is_unstarted) = 3
)
select 'overdue schedules',
    case when count(*) = 0 then 'ok' when max(l.age) < '10 minutes' then 'warn' else 'bad' end,
    coalesce(string_agg(format('%s (for %s)', l.name, date_trunc('second', l.age)), ', '
                        order by l.name), 'none'),
    'any running worker fires them: pgjobs worker MODULE:APP; without one: '
        'select count(*) from jobs_schedules_fire()'
from late l
union all
select 'schedules without a handler',
    case when count(*) > 0 then 'bad' else 'ok' end,
    coalesce(string_agg(format('%s (%s in queue %s)', u.name, u.job_type, u.queue), ', '
                        order by u.name), 'none'),
    'start a worker that serves the queue and has a handler for the type, or pgjobs schedule '
        'remove NAME'
from unserved u
union all
select 'schedules that end badly',
    case when count(*) > 0 then 'bad' else 'ok' end,
    coalesce(string_agg(f.name, ', ' order by f.name), 'none'),
    'the last three runs failed: read why (pgjobs list --status failed), mend the handler, then '
        'pgjobs schedule run NAME'
from failing f
union all
select 'schedules that skip themselves',
    case when count(*) > 0 then 'warn' else 'ok' end,
    coalesce(string_agg(s.name, ', ' order by s.name), 'none'),
    'their jobs wait or run for longer than the time between two ticks: start more workers, run '
        'them less often, or let them overlap (--overlap allow)'
from starving s
union all
select 'schedules with an error',
    case when count(*) > 0 then 'bad' else 'ok' end,
    coalesce(string_agg(case when _jobs_may_read() then format('%s (%s)', s.name, left(s.error, 200))
                             else s.name end, ', ' order by s.name), 'none'),
    'no job was added at the last tick: change the schedule (pgjobs schedule add), or remove it'
from active s where s.error is not null
$$;

comment on function _jobs_doctor_schedules is
    'internal: the doctor''s checks of schedules and of their latest jobs';
