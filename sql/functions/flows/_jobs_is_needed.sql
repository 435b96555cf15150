-- Whoever deletes ended jobs leaves out those that an unfinished job has named as its parents: that
-- job may read their results. PL/pgSQL and nested look-ups, so that a planner without statistics
-- cannot start from another table.
create or replace function _jobs_is_needed(job_id bigint) returns boolean
language plpgsql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
begin
    return exists (
        select from jobs_flow_edges e
        where e.parent_id = job_id and (
            select (c.finished_at is not null) is false from jobs c where c.id = e.child_id));
end
$$;

comment on function _jobs_is_needed is
    'internal: whether a job that has not ended waits for this job, or has waited for it';
