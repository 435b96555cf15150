create or replace function _jobs_doctor_workers()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
as $$
with registered as (
    select w.*, clock_timestamp() - coalesce(t.seen_at, w.started_at) as unseen, m.mode,
        m.mode <> 'gone' as connected
    from jobs_workers w
    join _jobs_worker_modes() m on m.worker = w.worker
    left join jobs_worker_ticks t on t.worker = w.worker
), due as (
    select j.queue, j.job_type, count(*) as jobs
    from jobs_list j
    where j.status = 'pending' and j.run_at <= clock_timestamp()
        and not exists (select from jobs_queues q
                        where q.queue = j.queue and q.paused_at is not null)
    group by 1, 2
), unserved as (
    select d.* from due d
    where not exists (
        select from registered r
        where r.connected and d.queue = any (r.queues)
            and (r.job_types is null or d.job_type = any (r.job_types)))
), counts as (
    select count(*) as workers, count(*) filter (where r.connected) as connected,
        count(*) filter (where r.mode = 'polling') as polling, min(r.unseen) as unseen,
        exists (select from due) as needed,
        -- Clients without a LISTEN connection, psql for one, claim without registering.
        (select count(*) from jobs_list j
         where j.status = 'processing' and coalesce(j.lease_until, 'infinity') > clock_timestamp()
             and not exists (select from jobs_workers w where w.worker = j.worker)) as others
    from registered r
)
select 'workers',
    case when c.connected + c.others > 0 then 'ok' when c.needed then 'bad' else 'warn' end,
    case when c.connected = 0 and c.others > 0
            then format('none is connected, others hold %s jobs', c.others)
        when c.connected = 0 then 'none is connected'
        else format('%s connected, %s of them polling; the last tick was %s ago', c.connected,
                    c.polling, date_trunc('second', c.unseen)) end,
    'start one: pgjobs worker MODULE:APP'
from counts c
union all
select 'workers that are gone',
    case when count(*) > 0 then 'warn' else 'ok' end,
    coalesce(string_agg(format('%s (seen %s ago)', r.worker, date_trunc('second', r.unseen)),
                        ', ' order by r.worker), 'none'),
    'the tick of another worker takes their jobs back, or two calls of jobs_recover() 2 s apart'
from registered r where not r.connected
union all
select 'workers that hang',
    case when count(*) > 0 then 'bad' else 'ok' end,
    coalesce(string_agg(format('%s (seen %s ago)', r.worker, date_trunc('second', r.unseen)),
                        ', ' order by r.worker), 'none'),
    'a handler blocks the event loop, or the process is stopped: restart it'
from registered r where r.connected and r.unseen > '30 seconds'
union all
select 'jobs without a handler',
    case when count(*) > 0 then 'bad' else 'ok' end,
    coalesce(string_agg(format('%s in queue %s (%s due)', u.job_type, u.queue, u.jobs),
                        ', ' order by u.queue, u.job_type), 'none'),
    'start a worker that serves the queue and has a handler for the type, or cancel the jobs'
from unserved u where exists (select from registered r where r.connected)
$$;

comment on function _jobs_doctor_workers is
    'internal: the doctor''s checks of the registered workers, and of jobs that none claims';
