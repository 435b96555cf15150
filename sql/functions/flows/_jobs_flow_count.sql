-- One round of _jobs_flow_resolve. is_cascading: it has cancelled jobs, which others may wait for.
--
-- Two sessions cannot both count a change: whoever has the child's lock reads and deletes the
-- changes of the child, in a later statement than the lock. Children that another session has locked
-- are skipped, so nothing waits and nothing deadlocks.
--
-- The counts say when to look at the parents, and the parents themselves decide: a job is let go
-- only after its parents' rows were read. There look-ups are nested, so that a planner without
-- statistics cannot start from all jobs.
create or replace function _jobs_flow_count(max_children int)
returns table (counted bigint, is_cascading boolean)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    -- Other sessions may have locked the first ones.
    c_look_beyond constant int := 10;
    v_now constant timestamptz := clock_timestamp();
    v_children bigint[];
    v_gone bigint[];
    v_culprits bigint[];
    v_culprits_of bigint[];
    v_blocked bigint[];
    v_to_come int[];
    v_given_up bigint[];
    v_ready bigint[];
    v_unhurt bigint[];
    v_cleared bigint[] := '{}';
    v_closed bigint[] := '{}';
    v_busy bigint[] := '{}';
begin
    -- One probe for each job that has changes, however many it has.
    with recursive changed (id) as (
        select min(c.child_id) from jobs_flow_changes c
        union all
        select (select min(c.child_id) from jobs_flow_changes c where c.child_id > n.id)
        from changed n
        where n.id is not null
    )
    select array(select n.id from changed n where n.id is not null
                 limit max_children * c_look_beyond)
    into v_children;
    if v_children = '{}' then
        return query values (0::bigint, false);
        return;
    end if;
    -- Of jobs without rows, which were deleted by hand, the changes go too.
    v_gone := array(
        select n.id from unnest(v_children) n(id)
        where (select true from jobs j where j.id = n.id) is null
            or (select true from jobs_flows f where f.job_id = n.id) is null);
    with locked as materialized (
        select j.id, j.status from jobs j
        where j.id = any (v_children)
        limit max_children
        for no key update skip locked
    )
    select array_agg(l.id), array_agg(l.id) filter (where l.status = 'blocked')
    into v_children, v_blocked
    from locked l;
    -- A transaction that has closed the batch may be open.
    v_children := array(
        select f.job_id from jobs_flows f
        where f.job_id = any (v_children)
        for no key update skip locked);
    with counted as (
        delete from jobs_flow_changes c
        where c.child_id = any (v_children || v_gone)
        returning c.*
    ), summed as materialized (
        select c.child_id, sum(c.parents) as parents, sum(c.completed) as completed,
            sum(c.failed) as failed, sum(c.cancelled) as cancelled, sum(c.kept) as kept,
            min(c.culprit) as culprit
        from counted c
        group by c.child_id
    ), added as (
        update jobs_flows f
        set parents = f.parents + s.parents,
            completed = f.completed + s.completed,
            failed = f.failed + s.failed,
            cancelled = f.cancelled + s.cancelled,
            keeps_parents = f.keeps_parents or s.kept > 0
        from summed s
        where f.job_id = s.child_id
    )
    select array_agg(s.child_id order by s.child_id), array_agg(s.culprit order by s.child_id)
    into v_culprits_of, v_culprits
    from summed s
    where s.culprit is not null;

    -- In the order of the ids, for width_bucket.
    select coalesce(array_agg(f.job_id order by f.job_id), '{}'),
        array_agg(greatest(f.to_come, 0) order by f.job_id),
        coalesce(array_agg(f.job_id) filter (where f.is_given_up), '{}'),
        coalesce(array_agg(f.job_id) filter (where f.is_ready and not f.is_given_up), '{}'),
        coalesce(array_agg(f.job_id) filter (where f.is_given_up and f.bad = 0), '{}')
    into v_blocked, v_to_come, v_given_up, v_ready, v_unhurt
    from (
        select f.job_id, f.to_come, f.bad,
            f.on_parent_failed = 'cancel' and f.bad > 0
                or f.on_parent_failed = 'only' and not f.is_open and f.to_come <= 0
                    and f.bad = 0 as is_given_up,
            not f.is_open and f.to_come <= 0 as is_ready
        from (
            select f.*, f.failed + f.cancelled as bad, f.parents - f.completed - case
                when f.on_parent_failed = 'wait' then 0 else f.failed + f.cancelled end as to_come
            from jobs_flows f
            where f.job_id = any (v_blocked) and f.job_id = any (v_children)
        ) f
    ) f;
    if v_ready <> '{}' then
        -- A session that adds members has a lock on the flow. Its commit decides.
        v_closed := array(
            select f.job_id from jobs_flows f
            where f.job_id = any (v_ready)
            for update skip locked);
        v_cleared := array(
            select f.job_id from jobs_flows f
            where f.job_id = any (v_closed)
                and (
                    select true from jobs_flow_edges e
                    where e.child_id = f.job_id and (
                        select not e.is_attached or (p.finished_at is not null) is false
                            or f.on_parent_failed = 'wait' and p.status <> 'completed'
                        from jobs p
                        where p.id = e.parent_id)
                    limit 1) is null
                and (
                    select true from jobs_flow_changes c where c.child_id = f.job_id
                    limit 1) is null);
        perform _jobs_flow_recount(r.id) from unnest(v_closed) r(id) where r.id <> all (v_cleared);
        -- Looked at again by the next tick, if the session that adds members gives up.
        v_busy := array(select r.id from unnest(v_ready) r(id) where r.id <> all (v_closed));
        insert into jobs_flow_changes (child_id) select b.id from unnest(v_busy) b(id);
    end if;

    update jobs j
    set status = 'cancelled',
        error = coalesce((
            select format('its parent, job %s, %s', c.culprit, case p.status
                when 'failed' then 'failed' when 'cancelled' then 'was cancelled'
                when 'completed' then 'had failed' else 'is gone' end)
            from (select v_culprits[array_position(v_culprits_of, j.id)] as culprit) c
            left join jobs p on p.id = c.culprit
            where c.culprit is not null),
            case when j.id = any (v_unhurt) then 'none of its parents failed'
            else 'one of its parents failed' end),
        updated_at = v_now,
        finished_at = v_now
    where j.id = any (v_given_up);
    update jobs j
    set status = case when j.id = any (v_cleared) then 'pending' else j.status end,
        depends_on_left = v_to_come[width_bucket(j.id, v_blocked)],
        run_at = case when j.id = any (v_cleared) then greatest(j.run_at, v_now) else j.run_at end,
        updated_at = v_now
    where j.id = any (v_blocked) and j.id <> all (v_given_up);
    if v_given_up <> '{}' or v_cleared <> '{}' then
        perform _jobs_signal_jobs(v_given_up || v_cleared), _jobs_count_ends(v_given_up);
    end if;
    counted := cardinality(v_children) + cardinality(v_gone) - cardinality(v_busy);
    is_cascading := v_given_up <> '{}';
    return next;
end
$$;

comment on function _jobs_flow_count is
    'internal: counts the ended parents of up to max_children jobs, and lets go who waits no more';
