-- The caller has locked the job. Counts its parents anew, from their rows. One statement reads the
-- parents and deletes the changes that were noted, by one snapshot: a parent that ends meanwhile is
-- either counted here, or its change stays. An edge that is not attached counts as a parent that has
-- not ended, because attaching it will count it.
create or replace function _jobs_flow_recount(child_id bigint) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
begin
    with noted as (
        delete from jobs_flow_changes c where c.child_id = _jobs_flow_recount.child_id
    )
    update jobs_flows f
    set parents = e.parents,
        completed = e.completed,
        failed = e.failed,
        cancelled = e.cancelled,
        keeps_parents = e.keeps_parents,
        counted_at = clock_timestamp()
    from (
        select count(*) as parents,
            count(*) filter (where e.is_attached and p.status = 'completed') as completed,
            count(*) filter (where e.is_attached and p.status = 'failed') as failed,
            count(*) filter (where e.is_attached and (p.status = 'cancelled' or p.id is null))
                as cancelled,
            coalesce(bool_or(p.marks & 1 = 1), false) as keeps_parents
        from jobs_flow_edges e
        left join jobs p on p.id = e.parent_id
        where e.child_id = _jobs_flow_recount.child_id
    ) e
    where f.job_id = _jobs_flow_recount.child_id;
    -- For the caller that counts next.
    insert into jobs_flow_changes (child_id) values (_jobs_flow_recount.child_id);
end
$$;

comment on function _jobs_flow_recount is
    'internal: counts the parents of a locked job anew, from their rows';
