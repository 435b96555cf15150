-- Two sessions cannot both win: recovery locks rows with `skip locked`, and a session that locks a
-- row later reads its new status. Recovery skips a job whose completion is under way, because the
-- completion holds the row's lock.
--
-- sparing: a worker's tick leaves out the worker's own jobs. The worker may have hung for longer
-- than its leases. If no other worker has taken the jobs meanwhile, the worker goes on with them.
create or replace function jobs_recover(
    worker text default null,
    sparing text default null
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_gone text[] := _jobs_workers_gone();
    v_ids bigint[];
    v_id bigint;
    v_job jobs;
    v_queues text[] := '{}';
begin
    v_ids := array(
        select j.id from jobs j
        where j.status = 'processing'
            and (sparing is null or j.worker is distinct from sparing)
            and (j.lease_until < v_now
                 -- A job claimed since v_now was claimed by a new worker of that name.
                 or (j.worker = any (v_gone) and j.updated_at < v_now)
                 or j.worker = jobs_recover.worker)
        for update skip locked);
    foreach v_id in array v_ids loop
        v_job := _jobs_end_attempt(v_id, lost_at => v_now);
        if v_job.status = 'pending' then
            v_queues := v_queues || v_job.queue;
        end if;
        return next v_job;
    end loop;
    perform _jobs_signal(v_queues);
    delete from jobs_workers w
    where w.worker = any (array(
        select g.worker from jobs_workers g
        where g.worker = any (v_gone)
            and g.missed_at is not null
            and not exists (select from jobs j
                            where j.status = 'processing' and j.worker = g.worker)
        for update of g skip locked));
end
$$;

comment on function jobs_recover is
    'takes back jobs whose lease is over or whose worker is gone, and all jobs of `worker`';
