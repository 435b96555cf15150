-- Tells the workers of a queue that jobs have become claimable. Sends the queue's name on channel
-- jobs, for everybody, and the news for workers on channel jobs_signal:
--
--     <listening_key of the picked worker, or 0> <levels> <run_at in microseconds> <queue>
--
-- A picked worker is in mode listening, so it has a free slot and claims at once. As many workers
-- are picked as there are jobs, 16 at most. The other workers look 0.1 to 0.2 s later, in case a
-- picked one hangs (pgjobs/worker/listener.py). levels has bit n for priority n - 9. run_at is the
-- least of the jobs; one before 1970 or after 9999 is sent as 0.
--
-- While the server's notification queue is half full this function sends nothing, because a full
-- queue would make the caller's commit fail. Workers see that and look by themselves.
create or replace function _jobs_signal(
    queue text,
    run_at timestamptz,
    levels int default 524287,
    jobs bigint default 1,
    job_types text[] default null
) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
as $$
begin
    -- A longer name than a column allows does not fit into a notification.
    if queue is null or octet_length(queue) > 512 or pg_notification_queue_usage() >= 0.5 then
        return;
    end if;
    perform pg_notify(jobs_channel('jobs'), queue),
        pg_notify(jobs_channel('jobs_signal'), format('%s %s %s %s',
            coalesce(picked.listening_key, 0), levels,
            case when run_at >= '1970-01-01 00:00:00+00'
                and run_at < '9999-12-31 00:00:00+00'
                then (extract(epoch from run_at) * 1000000)::bigint else 0 end, queue))
    from (select) one left join lateral (
        -- Ordered first, so that only as many locks are tried as it takes to find listening
        -- workers.
        select w.listening_key
        from (
            select w.listening_key from jobs_workers w
            where _jobs_signal.queue = any (w.queues)
                and (w.job_types is null or _jobs_signal.job_types is null
                     or w.job_types && _jobs_signal.job_types)
            order by random()
        ) w
        where _jobs_is_locked(w.listening_key)
        limit least(jobs, 16)
    ) picked on true;
end
$$;

comment on function _jobs_signal is
    'internal: tells the workers of a queue, on commit, that jobs are claimable from run_at on';
