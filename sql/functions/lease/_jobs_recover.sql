-- Two sessions cannot both win: recovery locks rows with `skip locked`, and a session that locks a
-- row later reads its new status. Recovery skips a job whose completion is under way, because the
-- completion holds the row's lock.
--
-- gone: workers that were found dead. worker: takes all jobs that it claimed before claimed_before.
-- sparing: a worker's tick leaves out the worker's own jobs. The worker may have hung for longer
-- than its leases. If no other worker has taken the jobs meanwhile, the worker goes on with them.
--
-- A worker whose heartbeats are fresh keeps jobs whose leases are over: a heartbeat passes over a
-- row that another session has locked, a handler's own transaction for example, and prolongs the
-- lease once that lock is free.
create or replace function _jobs_recover(
    gone text[],
    worker text default null,
    claimed_before timestamptz default 'infinity',
    sparing text default null,
    max_jobs int default null
) returns table (job jobs, lost_by text)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_fresh text[] := array(
        select t.worker from jobs_worker_ticks t where t.beats_until > v_now);
    v_ids bigint[];
    v_workers text[];
begin
    -- In the order of the keys that the jobs may take again, as _jobs_keyed has it.
    select coalesce(array_agg(l.id order by l.keyed_type, l.key), '{}'),
        array_agg(l.worker order by l.keyed_type, l.key)
    into v_ids, v_workers
    from (
        select j.id, j.worker,
            case when j.unique_scope = 'pending' then j.job_type end as keyed_type,
            case when j.unique_scope = 'pending' then j.unique_key end as key
        from jobs j
        where j.status = 'processing'
            and (sparing is null or j.worker is distinct from sparing)
            and (j.lease_until < v_now and (j.worker is null or j.worker <> all (v_fresh))
                 -- A job claimed since v_now was claimed by a new worker of that name.
                 or (j.worker = any (gone) and coalesce(j.started_at, '-infinity') < v_now)
                 or (j.worker = _jobs_recover.worker
                     and coalesce(j.started_at, '-infinity') < claimed_before))
        -- In the order of ix_jobs_status: by ix_jobs_job_type the planner may read all of it.
        order by j.status, j.finished_at
        limit max_jobs
        for no key update skip locked
    ) l;
    for v_place in 1..cardinality(v_ids) loop
        return query
        select _jobs_end_attempt(v_ids[v_place], lost_at => v_now), v_workers[v_place];
    end loop;
    perform _jobs_signal_jobs(v_ids), _jobs_count_ends(v_ids);
    -- A claim of a dead worker may have been undone while others passed over its rows.
    perform _jobs_signal(q.queue, '-infinity')
    from jobs_workers w cross join lateral unnest(w.queues) q(queue)
    where w.worker = any (gone)
    group by q.queue;
    delete from jobs_workers w
    where w.worker = any (array(
        select g.worker from jobs_workers g
        where g.worker = any (gone)
            and not exists (select from jobs_worker_ticks t
                            where t.worker = g.worker and t.missed_at is null)
            and (select true from jobs j
                 where j.status = 'processing' and j.worker = g.worker
                 order by j.status, j.finished_at
                 limit 1) is null
        for update of g skip locked));
    delete from jobs_worker_ticks t
    where t.worker = any (gone) and t.missed_at is not null
        and not exists (select from jobs_workers w where w.worker = t.worker);
end
$$;

comment on function _jobs_recover is
    'internal: jobs_recover, of at most max_jobs jobs; lost_by: the worker that held each';
