-- Two sessions cannot both win: the advisory lock of the name is exclusive, and a session keeps it
-- until the session ends.
--
-- The keys of the modes are new at each start. A producer whose snapshot is older than this start
-- finds the old keys, which nobody holds, and notifies.
create or replace function jobs_worker_start(
    worker text,
    queues text[],
    job_types text[],
    concurrency int,
    version text default null
) returns setof jobs_workers
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    v_queues text[] := coalesce(jobs_worker_start.queues, '{default}');
    v_name_key bigint;
    v_tries int := 5;
begin
    perform _jobs_check_claim(worker, queues, job_types => job_types);
    v_name_key := _jobs_advisory_key('name', jobs_worker_start.worker);
    -- Tries again: a session that checks whether a worker lives holds this lock for a moment.
    while not pg_try_advisory_lock(v_name_key) loop
        v_tries := v_tries - 1;
        if v_tries = 0 then
            raise exception using errcode = 'JQ006',
                message = format('a living worker is named %s', jobs_worker_start.worker),
                hint = 'Give each worker a name of its own, or leave the name out.';
        end if;
        perform pg_sleep(0.01);
    end loop;
    insert into jobs_worker_ticks as t (worker) values (jobs_worker_start.worker)
    on conflict (worker) do update
    set seen_at = excluded.seen_at, missed_at = null, beats_until = null,
        leases_until = null;
    return query
    insert into jobs_workers as w (
        worker, queues, job_types, concurrency, version, name_key, listening_key, polling_key)
    select jobs_worker_start.worker, v_queues, jobs_worker_start.job_types,
        coalesce(jobs_worker_start.concurrency, 1), jobs_worker_start.version, v_name_key,
        hashtextextended(gen_random_uuid()::text, 0), hashtextextended(gen_random_uuid()::text, 0)
    on conflict (worker) do update
    set started_at = excluded.started_at, queues = excluded.queues,
        job_types = excluded.job_types, concurrency = excluded.concurrency,
        version = excluded.version, name_key = excluded.name_key,
        listening_key = excluded.listening_key, polling_key = excluded.polling_key
    returning w.*;
    -- Makes other workers watch this one.
    perform pg_notify(jobs_channel('jobs_signal'), 'started ' || q.queue)
    from unnest(v_queues) q(queue)
    where pg_notification_queue_usage() < 0.5;
end
$$;

comment on function jobs_worker_start is
    'registers a worker on its LISTEN connection, whose session holds the name from now on';
