-- For jobs of which this transaction has completed and deleted some. A child of one of those was
-- committed meanwhile. The end is counted here, and the edge goes, so that nobody else counts it.
-- Not by a join: a planner without statistics may read all jobs for it.
create or replace function _jobs_flow_deleted(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    with gone as (
        delete from jobs_flow_edges e
        where e.parent_id = any (job_ids)
            and (select true from jobs j where j.id = e.parent_id) is null
        returning e.child_id
    )
    insert into jobs_flow_changes (child_id, completed)
    select g.child_id, count(*) from gone g group by g.child_id;
    if found then
        perform _jobs_flow_tell();
    end if;
end
$$;

comment on function _jobs_flow_deleted is
    'internal: counts those of these jobs that were completed and deleted at once';
