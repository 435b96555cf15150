-- Adds all jobs of a batch or none, where some name parents, a batch or a ref. Without unique keys
-- they go by one insert, however many they are. Else they go one by one, in their order, because
-- their parents must be there before them: two such calls that take the same keys in another order
-- may deadlock, and PostgreSQL then ends one of the two.
--
-- A parent of the same call cannot end before the commit, so its edge is attached at once.
create or replace function _jobs_enqueue_flow(jobs jsonb) returns setof jobs
language plpgsql volatile
set search_path from current
set jit = off
as $$
#variable_conflict use_column
declare
    v_item record;
    v_id_of jsonb := '{}';
    v_batches bigint[];
    v_depends_on bigint[];
    v_job jobs;
begin
    perform _jobs_check_refs(_jobs_enqueue_flow.jobs);
    if jsonb_path_exists(
        _jobs_enqueue_flow.jobs, '$[*] ? (exists(@.unique_key.type() ? (@ != "null"))
            || exists(@.on_conflict.type() ? (@ != "null"))
            || exists(@.unique_for.type() ? (@ != "null"))
            || exists(@.max_wait.type() ? (@ != "null")))')
    then
        for v_item in
            select u.*, f.depends_on, f.refs, f.on_parent_failed, f.batch_id, f.ref
            from _jobs_unpack(_jobs_enqueue_flow.jobs, false) u
            join _jobs_unpack_flow(_jobs_enqueue_flow.jobs) f on f.place = u.place
            order by u.place
        loop
            select e.* into v_job
            from jobs_enqueue(
                v_item.job_type, v_item.payload, v_item.queue, v_item.priority, v_item.run_at,
                v_item.reference_type, v_item.reference_id, v_item.max_retries, v_item.unique_key,
                v_item.unique_scope, v_item.backoff, v_item.reference_key, v_item.group_key,
                v_item.headers, v_item.expires_at,
                v_item.depends_on
                    || array(select (v_id_of ->> r.ref)::bigint from unnest(v_item.refs) r(ref)),
                coalesce(v_item.on_parent_failed, 'cancel'), v_item.batch_id, v_item.on_conflict,
                v_item.unique_for, v_item.max_wait) e;
            if v_item.ref is not null then
                v_id_of := v_id_of || jsonb_build_object(v_item.ref, v_job.id);
            end if;
            return next v_job;
        end loop;
        return;
    end if;

    perform _jobs_check_flow(f.depends_on, f.on_parent_failed, null)
    from _jobs_unpack_flow(_jobs_enqueue_flow.jobs) f
    where f.depends_on <> '{}' or f.on_parent_failed is not null;
    select array_agg(distinct f.batch_id) into v_batches
    from _jobs_unpack_flow(_jobs_enqueue_flow.jobs) f
    where f.batch_id is not null;
    if v_batches is not null then
        v_depends_on := array(
            select distinct d.id
            from _jobs_unpack_flow(_jobs_enqueue_flow.jobs) f
            cross join lateral unnest(f.depends_on) d(id)
            -- By refs a member may wait for jobs that are no members.
            where f.batch_id is not null or exists (
                select from _jobs_unpack_flow(_jobs_enqueue_flow.jobs) r
                where r.batch_id is not null and r.refs <> '{}'));
        perform _jobs_flow_join(v_batches, v_depends_on);
    end if;
    return query
    with unpacked as materialized (
        select u.*, f.depends_on, f.refs, f.on_parent_failed, f.batch_id, f.ref,
            cardinality(f.depends_on) + cardinality(f.refs) as parents
        from _jobs_unpack(_jobs_enqueue_flow.jobs, false) u
        join _jobs_unpack_flow(_jobs_enqueue_flow.jobs) f on f.place = u.place
    ), added as (
        insert into jobs as j (
            job_type, payload, queue, priority, run_at, reference_type, reference_id, max_retries,
            unique_scope, backoff, reference_key, group_key, headers, expires_at, batch_id, status,
            depends_on_left)
        select i.job_type, coalesce(i.payload, '{}'), coalesce(i.queue, 'default'),
            coalesce(i.priority, 0), coalesce(i.run_at, clock_timestamp()), i.reference_type,
            i.reference_id, coalesce(i.max_retries, 3), coalesce(i.unique_scope, 'live'),
            i.backoff, i.reference_key, i.group_key, i.headers, i.expires_at, i.batch_id,
            case when i.parents > 0 then 'blocked' else 'pending' end, nullif(i.parents, 0)
        from unpacked i
        order by i.place
        returning j.*
    ), placed as materialized (
        -- The ids ascend in the order of the objects.
        select u.*, a.id
        from unpacked u
        join (select a.id, row_number() over (order by a.id) as place from added a) a
            on a.place = u.place
    ), flow as (
        insert into jobs_flows (job_id, on_parent_failed, is_batch, is_open, parents)
        select p.id, coalesce(p.on_parent_failed, 'cancel'), false, false, p.parents
        from placed p
        where p.parents > 0
    ), edge as (
        insert into jobs_flow_edges (parent_id, child_id, is_attached)
        select d.id, p.id, false from placed p cross join lateral unnest(p.depends_on) d(id)
        union all
        select named.id, p.id, true
        from placed p
        cross join lateral unnest(p.refs) r(ref)
        join placed named on named.ref = r.ref
        union all
        select p.id, p.batch_id, true from placed p where p.batch_id is not null
    ), member as (
        insert into jobs_flow_changes (child_id, parents)
        select p.batch_id, count(*) from placed p where p.batch_id is not null group by p.batch_id
    )
    select a.* from added a order by a.id;
    if exists (select from _jobs_unpack_flow(_jobs_enqueue_flow.jobs) f where f.depends_on <> '{}')
    then
        perform _jobs_flow_tell(is_end => false);
    end if;
end
$$;

comment on function _jobs_enqueue_flow is
    'internal: adds jobs that name parents, batches or refs, and returns their rows in order';
