create or replace function _jobs_doctor_workers()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
with registered as (
    select w.*, m.mode, m.unseen, m.hangs, m.mode <> 'gone' as connected
    from jobs_workers w
    join _jobs_worker_modes() m on m.worker = w.worker
), due as materialized (
    -- The type is null where jobs_counts does not tell the types of the queue apart, and the queue
    -- where jobs_counts does not tell the queues apart: a worker may serve them.
    select c.queue, c.job_type, c.jobs, c.capped, c.oldest_due as age,
        c.jobs || case when c.capped then '+' else '' end as count,
        q.paused_at is not null and coalesce(q.paused_until > clock_timestamp(), true) as paused,
        concat_ws(': ', 'until ' || date_trunc('second', q.paused_until), q.pause_reason) as pause,
        c.queue is null or exists (
            select from registered r
            where r.connected and c.queue = any (r.queues)
                and (c.job_type is null or r.job_types is null or c.job_type = any (r.job_types))
        ) as served
    from _jobs_counts(1000, due_only => true) c
    left join jobs_queues q on q.queue = c.queue
    where c.state = 'due' and c.jobs > 0
), oldest as (
    select d.* from (select) one left join (
        select * from due d where not d.paused order by d.age desc limit 1
    ) d on true
), paused as (
    select string_agg(p.detail, ', ' order by p.queue) as detail
    from (
        select d.queue, format('%s (%s%s due%s)', d.queue, sum(d.jobs),
                               case when bool_or(d.capped) then '+' else '' end,
                               ', ' || nullif(d.pause, '')) as detail
        from due d where d.paused group by d.queue, d.pause
    ) p
), long as (
    select string_agg(format('%s (for %s%s)', q.queue,
                             date_trunc('second', clock_timestamp() - q.paused_at),
                             ', ' || q.pause_reason), ', ' order by q.queue) as detail
    from jobs_queues q
    where q.paused_until is null and q.paused_at < clock_timestamp() - interval '1 hour'
), unserved as (
    select d.queue, d.job_type, d.count, (
        select case when count(*) > 1 then 'the queues ' else 'queue ' end
            || string_agg(e.queue, ', ' order by e.queue)
        from (
            select distinct q.queue
            from registered r cross join lateral unnest(r.queues) q(queue)
            where r.connected and d.job_type = any (r.job_types)
            order by q.queue
            limit 3
        ) e) as elsewhere
    from due d where not d.paused and not d.served
), unknown as (
    select case when count(*) > 0
        then format('; the types of %s of the queues are too many to look at', count(*))
        else '' end as detail
    from due d where not d.paused and d.job_type is null
), counts as (
    select count(*) as workers, count(*) filter (where r.connected) as connected,
        count(*) filter (where r.mode = 'polling') as polling, min(r.unseen) as unseen,
        exists (select from due d where not d.paused) as needed,
        -- Clients without a LISTEN connection, psql for one, claim without registering.
        (select count(*) from jobs_list j
         where j.status = 'processing' and coalesce(j.lease_until, 'infinity') > clock_timestamp()
             and not exists (select from jobs_workers w where w.worker = j.worker)) as others
    from registered r
)
select 'oldest due job',
    case when o.age > '1 hour' then 'bad' when o.age > '1 minute' then 'warn' else 'ok' end,
    case when o.age is null then 'none'
        else format('%s in %s has been due for %s%s', coalesce(o.job_type, 'a job'),
                    coalesce('queue ' || o.queue, 'a queue'), date_trunc('second', o.age),
                    u.detail) end,
    case when o.served then 'start more workers, or give them more slots'
        when c.connected = 0 then 'see the check workers'
        else 'no worker takes it: see the check jobs without a handler' end
from oldest o, unknown u, counts c
union all
select 'paused queues',
    case when p.detail is not null then 'warn' else 'ok' end,
    coalesce(p.detail, 'none with due jobs'),
    'pgjobs resume QUEUE, or select * from jobs_resume(queue)'
from paused p
union all
select 'long pauses',
    case when l.detail is not null then 'warn' else 'ok' end,
    coalesce(l.detail, 'none of over an hour without an end'),
    'if it was forgotten: pgjobs resume QUEUE; if not, say when it ends: pgjobs pause QUEUE --for 8h'
from long l
union all
select 'workers',
    case when c.connected + c.others > 0 then 'ok' when c.needed then 'bad' else 'warn' end,
    case when c.connected = 0 and c.others > 0
            then format('none is connected, others hold %s %s', c.others,
                        case when c.others = 1 then 'job' else 'jobs' end)
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
from registered r where r.hangs
union all
select 'jobs without a handler',
    case when n.detail is not null then 'bad' else 'ok' end,
    coalesce(n.detail, 'none') || u.detail,
    'start a worker that serves the queue and has a handler for the type, or cancel the jobs'
from (
    select string_agg(
        format('%s in queue %s (%s due%s)', coalesce(u.job_type, 'jobs'), u.queue, u.count,
               '; workers have a handler for it in ' || u.elsewhere),
        ', ' order by u.queue, u.job_type) as detail
    from unserved u where exists (select from registered r where r.connected)
) n, unknown u
$$;

comment on function _jobs_doctor_workers is
    'internal: the doctor''s checks of the registered workers, and of due jobs that none claims';
