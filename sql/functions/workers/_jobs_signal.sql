-- Sends the queue's name on channel jobs. Picks one listening worker that serves the queue, and
-- sends the worker's name on channel jobs_turn. The picked worker claims at once. The others claim
-- 0.1 to 0.4 s later, in case the picked one does not (pgjobs/worker/listener.py). If none were
-- picked, all workers would claim for one job. A worker without a free slot has another one picked,
-- hops times at most.
--
-- While the server's notification queue is half full this function sends nothing, because a full
-- queue would make the caller's commit fail. Workers tick every 10 s anyway.
create or replace function _jobs_signal(
    queues text[],
    job_types text[] default null,
    hops int default 3
) returns void
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
as $$
begin
    if pg_notification_queue_usage() < 0.5 then
        perform pg_notify(jobs_channel('jobs'), q.queue),
            case when turn.worker is not null
                then pg_notify(jobs_channel('jobs_turn'), hops || ' ' || turn.worker) end
        from (select distinct unnest(_jobs_signal.queues)) q(queue)
        left join lateral (
            select w.worker from jobs_workers w
            where not w.polling and w.missed_at is null and q.queue = any (w.queues)
                and (w.job_types is null or _jobs_signal.job_types is null
                     or w.job_types && _jobs_signal.job_types)
            order by random()
            limit 1
        ) turn on hops > 0;
    end if;
end
$$;

comment on function _jobs_signal is
    'internal: tells the workers of these queues to claim, on commit: one at once, the others soon';
