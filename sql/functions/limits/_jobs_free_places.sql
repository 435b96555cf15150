-- Called in the transaction in which these jobs end, where some queue has a limit: the end of a job
-- may let another one start. A claim that runs at the same moment may count the job as running and
-- put the group off, so a turn is inserted in any case; the turn becomes visible with the end.
--
-- In order, the others of the group have waited for these jobs without a turn of their own. They
-- may have other types, whose workers do not look at turns of the types that end.
--
-- A signal is sent where a worker listens that may not look soon by itself, or where jobs_next_due
-- says null because the queue is full.
create or replace function _jobs_free_places(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_queues text[];
begin
    -- The transaction's number before the moment of its turns: see _jobs_raise_turns_from.
    perform pg_current_xact_id();
    with named as materialized (
        select j.queue, j.group_key, j.job_type from jobs j where j.id = any (job_ids)
    ), ending as materialized (
        select distinct n.queue, n.group_key, n.job_type, q.max_running_per_group,
            q.max_running, q.in_order
        from named n
        join jobs_queues q on q.queue = n.queue and q.ends_free_places
        where n.group_key is not null or q.max_running is not null
    ), turn as (
        insert into jobs_turns (queue, group_key, job_type, turn_at)
        select e.queue, e.group_key, t.job_type, clock_timestamp()
        from ending e
        cross join lateral unnest(
            case when e.in_order then _jobs_group_types(e.queue, e.group_key)
            else array[e.job_type] end) t(job_type)
        where e.group_key is not null and e.max_running_per_group is not null
    )
    select array_agg(distinct e.queue) into v_queues
    from ending e
    where e.max_running is not null
        or exists (select from jobs_workers w
                   where e.queue = any (w.queues) and _jobs_is_locked(w.listening_key));
    if v_queues is not null then
        perform _jobs_signal(q.queue, clock_timestamp(), jobs => cardinality(job_ids))
        from unnest(v_queues) q(queue)
        where not _jobs_is_polled(q.queue);
    end if;
end
$$;

comment on function _jobs_free_places is
    'internal: the end of these jobs may let others of their queues and groups start';
