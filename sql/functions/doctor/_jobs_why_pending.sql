-- What holds the job back whatever the time is comes first; then what passes by itself.
create or replace function _jobs_why_pending(job jobs)
returns table (reason text, detail text, advice text)
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_max_ahead constant int := 1000;
    v_now timestamptz := clock_timestamp();
    v_is_due boolean := job.run_at <= v_now;
    v_queue jobs_queues := (select q from jobs_queues q where q.queue = job.queue);
    v_told text := case when v_is_due
        and num_nonnulls(v_queue.max_running, v_queue.rate_count) > 0
        then _jobs_told_limit(v_queue) end;
    v_told_group text := case when v_is_due and job.group_key is not null
        and (v_queue.in_order
             or num_nonnulls(v_queue.max_running_per_group, v_queue.group_rate_count) > 0)
        then _jobs_told_group(v_queue, job.group_key) end;
    v_ahead record;
begin
    if v_is_due then
        select a.jobs, a.higher, a.highest into v_ahead from _jobs_ahead(job, c_max_ahead) a;
    else
        select 0 as jobs, 0 as higher, null::int as highest into v_ahead;
    end if;
    return query
    with connected as materialized (
        select w.queues, w.job_types, w.worker, m.mode, m.unseen, m.hangs,
            job.queue = any (w.queues) as serves_queue,
            w.job_types is null or job.job_type = any (w.job_types) as serves_type
        from _jobs_worker_modes() m
        join jobs_workers w on w.worker = m.worker
        where m.mode <> 'gone'
    ), workers as (
        select count(*) as all, count(*) filter (where c.serves_queue) as of_queue,
            count(*) filter (where c.serves_queue and c.serves_type) as serving,
            count(*) filter (where c.serves_queue and c.serves_type and c.hangs) as hanging,
            count(*) filter (where c.serves_queue and c.serves_type and not c.hangs
                             and c.mode <> 'full') as with_slots,
            string_agg(c.worker, ', ' order by c.worker)
                filter (where c.serves_queue and c.serves_type) as names,
            date_trunc('second', min(c.unseen)
                       filter (where c.serves_queue and c.serves_type)) as unseen,
            (select min(q.queue) from connected e cross join lateral unnest(e.queues) q(queue)
             where job.job_type = any (e.job_types)) as elsewhere
        from connected c
    ), reasons as (
        select r.rank, r.reason, r.detail, r.advice,
            row_number() over (order by r.rank) as place
        from workers w
        cross join lateral (
            values
            (1, job.expires_at <= v_now and job.retry_count = 0 and job.crash_count = 0, 'expired',
             format('its latest start was %s ago: the next tick of a worker cancels it',
                    date_trunc('second', v_now - job.expires_at)),
             format('to run it all the same: pgjobs cancel %s, then pgjobs retry %s', job.id,
                    job.id)),
            (2, v_queue.paused_at is not null and coalesce(v_queue.paused_until > v_now, true),
             'paused',
             format('queue %s has been paused for %s', job.queue, concat_ws(
                 ', ', date_trunc('second', v_now - v_queue.paused_at),
                 'until ' || date_trunc('second', v_queue.paused_until), v_queue.pause_reason)),
             format('pgjobs resume %L', job.queue)),
            (3, w.serving = 0, 'no worker',
             case when w.all = 0 then 'no worker is connected'
                 when w.of_queue = 0 then format('no connected worker serves queue %s', job.queue)
                 else format('no connected worker of queue %s has a handler for type %s', job.queue,
                             job.job_type) end
                 || coalesce(format('; one has a handler for type %s in queue ', job.job_type)
                             || w.elsewhere, ''),
             case when w.elsewhere is not null
                 then format('pgjobs edit %s --queue %L, or ', job.id, w.elsewhere) else '' end
                 || 'start one that serves both: pgjobs worker MODULE:APP'),
            (4, w.serving > 0 and w.hanging = w.serving, 'worker hangs',
             format('all that serve its queue and type hang: %s, seen last %s ago', w.names,
                    w.unseen),
             'a handler blocks the event loop, or the process is stopped: restart it'),
            (5, v_told is not null and v_told not like 'rate %', 'limit',
             format('queue %s: %s', job.queue, concat_ws(
                 ': ', v_told, case when v_told is not null
                              then _jobs_who_runs(job.queue, null) end)),
             format('wait for an end, cancel one that hangs (pgjobs cancel ID), or raise the limit: '
                    'pgjobs limit %L --max-running N', job.queue)),
            (6, v_told like 'rate %', 'rate', format('queue %s: %s', job.queue, v_told),
             format('wait, or raise the rate: pgjobs limit %L --rate N/TIME', job.queue)),
            (7, v_told_group is not null, 'group',
             format('group %s: %s', job.group_key, concat_ws(
                 ': ', v_told_group, case when v_told_group is not null
                                    then _jobs_who_runs(job.queue, job.group_key) end)),
             case when v_told_group like 'rate %'
                 then format('wait, or raise the rate: pgjobs limit %L --group-rate N/TIME',
                             job.queue)
                 when v_told_group like 'waits for %'
                 then format('to let the others of the group start, give that job up: pgjobs cancel '
                             '%s', substring(v_told_group from '[0-9]+$'))
                 else format('wait for an end, cancel one that hangs (pgjobs cancel ID), or raise '
                             'the limit: pgjobs limit %L --max-running-per-group N', job.queue)
                 end),
            (8, _jobs_is_suspect(job.crash_count, job.max_retries), 'suspect',
             format('it was lost with its worker %s: a worker takes it only while it holds no other '
                    'job that was lost', case when job.crash_count = 1 then 'once'
                    else job.crash_count || ' times' end),
             format('see how those workers ended; if the job is innocent: pgjobs cancel %s, then '
                    'pgjobs retry %s', job.id, job.id)),
            (9, not v_is_due and job.attempt > 0, 'retrying',
             format('it was claimed %s, has spent %s of %s retries, and may start again in %s',
                    case when job.attempt = 1 then 'once' else job.attempt || ' times' end, job.retry_count, job.max_retries,
                    date_trunc('second', job.run_at - v_now) + interval '1 second'),
             format('to start it now: pgjobs edit %s --delay 0s', job.id)),
            (10, not v_is_due and job.attempt = 0, 'not due',
             format('it may start in %s',
                    date_trunc('second', job.run_at - v_now) + interval '1 second'),
             format('to start it now: pgjobs edit %s --delay 0s', job.id)),
            (11, v_is_due and w.serving > w.hanging and w.with_slots = 0, 'no slot',
             format('all that serve its queue and type are full: %s', w.names),
             'wait for an end, start more workers, or give them more slots: pgjobs top shows them'),
            (12, v_ahead.jobs > 0, 'others first',
             format('%s%s before it, %s of them by a higher priority', v_ahead.jobs,
                    case v_ahead.jobs when 1 then ' due job comes'
                        when c_max_ahead then '+ due jobs come' else ' due jobs come' end,
                    v_ahead.higher),
             case when v_ahead.highest < 9
                 then format('to let it go first: pgjobs edit %s --priority %s; ', job.id,
                             v_ahead.highest + 1) else '' end
                 || 'to run all sooner, start more workers, or give them more slots'),
            (13, true, 'due', 'nothing holds it back: the next claim takes it',
             'if it stays so: pgjobs doctor')
        ) r(rank, holds, reason, detail, advice)
        where r.holds
    )
    -- That nothing holds it back is told only where that is so.
    select r.reason, r.detail, r.advice
    from reasons r
    where r.rank < 13 or r.place = 1
    order by r.rank;
end
$$;

comment on function _jobs_why_pending is
    'internal: why a pending job does not start, the worst reason first';
