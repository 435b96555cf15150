-- One worker's turn, everybody's hint. All who listen on jobs hear the queue's name; of the workers
-- at rest that serve it one is named on jobs_turn and looks at once, the others look a little later
-- in case it does not (pgjobs/listener.py), or sixteen of them would claim for one job. A worker
-- without a free slot hands its turn on, hops times at most.
--
-- Silent while the server's notification queue is half full: a full one would make the caller's
-- commit fail, and workers poll every 10 s anyway.
create or replace function _jobs_signal(
    queues text[],
    job_types text[] default null,
    hops int default 3
) returns void
language plpgsql volatile
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
    'internal: tells the workers of these queues to look, on commit: one at once, the others soon';
