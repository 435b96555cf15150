-- Attaches edges whose parents were committed before the edges were. A parent is locked for the
-- moment of this statement's transaction, so the caller calls this by itself. Two cases:
-- The parent has ended: its end is counted here. Else whoever ends the parent gets the row's lock
-- after this commit, looks for edges in a later statement, and finds this edge attached.
--
-- Two sessions cannot both count an edge: each locks the edge first, and skips locked edges. A
-- parent that another session has locked may be ending: its edges wait for the next call.
--
-- A claim passes over a pending job that is locked here. So such jobs are signalled.
create or replace function _jobs_flow_attach(max_edges int) returns bigint
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $$
declare
    c_max_rounds constant int := 10;
    v_edges tid[];
    v_parents bigint[];
    v_locked bigint[];
    v_pending bigint[];
    v_attached bigint := 0;
    v_after bigint := -9223372036854775808;
begin
    -- Further edges, if the parents of all these are locked.
    for v_round in 1..c_max_rounds loop
        select array_agg(l.ctid), array_agg(distinct l.parent_id), max(l.child_id)
        into v_edges, v_parents, v_after
        from (
            select e.ctid, e.parent_id, e.child_id from jobs_flow_edges e
            where not e.is_attached and e.child_id > v_after
            order by e.child_id, e.parent_id
            limit max_edges
            for update skip locked
        ) l;
        exit when v_edges is null;
        with locked as materialized (
            select j.id, j.status from jobs j where j.id = any (v_parents)
            for share skip locked
        )
        select array_agg(l.id), array_agg(l.id) filter (where l.status = 'pending')
        into v_locked, v_pending
        from locked l;
        v_parents := v_locked || array(
            select p.id from unnest(v_parents) p(id)
            where not exists (select from jobs j where j.id = p.id));
        with attached as (
            update jobs_flow_edges e
            set is_attached = true
            where e.ctid = any (v_edges) and e.parent_id = any (v_parents)
            returning e.parent_id, e.child_id
        ), ended as (
            -- A parent without a row was deleted by hand.
            insert into jobs_flow_changes (child_id, completed, failed, cancelled, kept, culprit)
            select a.child_id, count(*) filter (where p.status = 'completed'),
                count(*) filter (where p.status = 'failed'),
                count(*) filter (where p.status = 'cancelled' or p.id is null),
                count(*) filter (where p.marks & 1 = 1),
                min(a.parent_id) filter (where p.status is distinct from 'completed')
            from attached a
            left join jobs p on p.id = a.parent_id
            where p.id is null or (p.finished_at is not null) is true
            group by a.child_id
        )
        select count(*) into v_attached from attached a;
        if v_pending is not null then
            perform _jobs_signal_jobs(v_pending);
        end if;
        exit when v_attached > 0;
    end loop;
    return v_attached;
end
$$;

comment on function _jobs_flow_attach is
    'internal: has up to max_edges new edges counted by the ends of their parents; returns how many';
