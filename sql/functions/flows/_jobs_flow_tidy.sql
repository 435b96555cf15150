-- What a worker's full tick does for flows, a bounded part each time. Two sessions cannot both win:
-- rows that another session has locked are skipped.
--
-- A flow that has not been looked at for an hour is counted anew, because rows may have been changed
-- or deleted by hand. Parents that were kept only for a child go once the child has ended.
create or replace function _jobs_flow_tidy(max_flows int) returns bigint
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
    c_counted_anew_after constant interval := '1 hour';
    c_max_parents constant int := 10000;
    v_flows bigint[];
    v_flow bigint;
    v_parents bigint[];
    v_found bigint := 0;
begin
    v_flows := array(
        select f.job_id from jobs_flows f
        where f.counted_at < clock_timestamp() - c_counted_anew_after
        order by f.counted_at
        limit max_flows
        for no key update skip locked);
    if v_flows <> '{}' then
        v_found := cardinality(v_flows);
        update jobs_flows f set counted_at = clock_timestamp() where f.job_id = any (v_flows);
        perform _jobs_flow_recount(l.id)
        from (
            select j.id from jobs j
            where j.id = any (v_flows) and (j.status = 'blocked') is true
            for no key update skip locked
        ) l
        join jobs_flows f on f.job_id = l.id and f.parents <= c_max_parents;
        -- Their jobs were deleted while these rows were locked, or by hand.
        perform _jobs_forget(array(
            select o.id from unnest(v_flows) o(id)
            where (select true from jobs j where j.id = o.id) is null));
    end if;
    for v_flow in
        select f.job_id from jobs_flows f
        where f.keeps_parents
            and not exists (select from jobs j
                            where j.id = f.job_id and (j.finished_at is not null) is false)
        order by f.job_id
        limit max_flows
        for no key update skip locked
    loop
        v_parents := array(
            select p.id
            from jobs_flow_edges e
            cross join lateral (
                select p.id from jobs p
                where p.id = e.parent_id and (p.marks & 1) = 1
                    and (p.finished_at is not null) is true and not _jobs_is_needed(p.id)
                    and not exists (select from jobs_watched w where w.job_id = p.id)
                for update skip locked) p
            where e.child_id = v_flow
            limit c_max_parents);
        delete from jobs j where j.id = any (v_parents);
        perform _jobs_forget(v_parents);
        -- Parents that another session has locked are kept still.
        if (select true from jobs_flow_edges e
            where e.child_id = v_flow
                and (select (p.marks & 1) = 1 from jobs p where p.id = e.parent_id)
                and not _jobs_is_needed(e.parent_id)
            limit 1) is null
        then
            update jobs_flows f set keeps_parents = false where f.job_id = v_flow;
            if (select true from jobs j where j.id = v_flow) is null then
                perform _jobs_forget(array[v_flow]);
            end if;
        end if;
        v_found := v_found + cardinality(v_parents);
    end loop;
    return v_found;
end
$$;

comment on function _jobs_flow_tidy is
    'internal: counts old flows anew, and deletes parents that were kept for jobs that have ended';
