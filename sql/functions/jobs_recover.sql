-- Two sessions cannot both win: rows are locked with `skip locked`, and whoever locks one later
-- re-reads that it is processing. A completion that is under way holds the lock and is passed by.
--
-- sparing: a worker that looks by itself spares its own jobs. It may have hung for longer than its
-- lease; if nobody has taken them meanwhile, it goes on with them.
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
    v_gone text[] := jobs_workers_gone();
    v_ids bigint[];
    v_queues text[];
begin
    v_ids := array(
        select j.id from jobs j
        where j.status = 'processing'
            and (sparing is null or j.worker is distinct from sparing)
            and (j.lease_until < v_now
                 -- What was claimed since was claimed by a new worker of that name.
                 or (j.worker = any (v_gone) and j.updated_at < v_now)
                 or j.worker = jobs_recover.worker)
        for update skip locked);
    return query
    with verdict as (
        select j.id,
            case
                when j.cancel_requested_at is not null then 'cancelled'
                when j.crash_count < j.max_retries then 'pending'
                else 'failed'
            end as status
        from jobs j
        where j.id = any (v_ids)
    )
    update jobs j
    set status = v.status,
        crash_count = j.crash_count + 1,
        error = case v.status
            when 'failed' then format('its worker was lost %s times, the last was %s',
                                      j.crash_count + 1, coalesce(j.worker, 'unknown'))
            else j.error end,
        run_at = case
            when v.status = 'pending' and j.crash_count > 0
                then v_now + jobs_retry_delay(j.backoff, j.crash_count)
            else j.run_at end,
        worker = null,
        lease_until = null,
        updated_at = v_now,
        finished_at = case v.status when 'pending' then null else v_now end
    from verdict v
    where j.id = v.id
    returning j.*;
    if cardinality(v_ids) > 0 then
        select array_agg(distinct j.queue) into v_queues
        from jobs j where j.id = any (v_ids) and j.status = 'pending';
        perform jobs_wake(v_queues);
    end if;
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
    'takes back jobs whose lease is over or whose worker is gone; by name, all that worker holds';
