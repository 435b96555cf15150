create or replace function _jobs_doctor_jobs()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
as $$
with processing as (
    select count(*) filter (where j.lease_until < clock_timestamp()) as expired,
        clock_timestamp() - min(j.lease_until) as overdue,
        count(*) filter (where j.lease_until is null) as leaseless,
        max(j.age) filter (where j.lease_until is null) as held
    from jobs_list j where j.status = 'processing'
), waiting as (
    select j.queue, j.job_type, q.paused_at is not null as paused, count(*) as due,
        max(j.age) as age
    from jobs_list j
    left join jobs_queues q on q.queue = j.queue
    where j.status = 'pending' and j.run_at <= clock_timestamp()
    group by 1, 2, 3
), paused as (
    select count(*) as queues,
        string_agg(format('%s (%s due)', p.queue, p.due), ', ' order by p.queue) as detail
    from (select w.queue, sum(w.due) as due from waiting w where w.paused group by 1) p
)
select 'expired leases',
    case when p.expired = 0 then 'ok' when p.overdue < '1 minute' then 'warn' else 'bad' end,
    case when p.expired = 0 then 'none'
        else format('%s, the oldest for %s', p.expired, date_trunc('second', p.overdue)) end,
    'a running worker takes such jobs back within 10 s; without one: '
        'select count(*) from jobs_recover()'
from processing p
union all
select 'jobs held without a lease',
    case when p.held > '1 hour' then 'warn' else 'ok' end,
    case when p.leaseless = 0 then 'none'
        else format('%s, the longest for %s', p.leaseless, date_trunc('second', p.held)) end,
    'nothing takes them back by itself: if their worker is gone, '
        'select count(*) from jobs_recover(worker)'
from processing p
union all
select 'oldest due job',
    case when w.age > '1 hour' then 'bad' when w.age > '1 minute' then 'warn' else 'ok' end,
    coalesce((select format('%s in queue %s has been due for %s', o.job_type, o.queue,
                            date_trunc('second', o.age))
              from waiting o where not o.paused order by o.age desc limit 1), 'none'),
    'start more workers, or give them more slots; see the checks on workers and handlers below'
from (select max(w.age) as age from waiting w where not w.paused) w
union all
select 'paused queues',
    case when p.queues > 0 then 'warn' else 'ok' end,
    coalesce(p.detail, 'none with due jobs'),
    'pgjobs resume QUEUE, or select * from jobs_resume(queue)'
from paused p
$$;

comment on function _jobs_doctor_jobs is
    'internal: the doctor''s checks of jobs that no worker finishes or claims';
