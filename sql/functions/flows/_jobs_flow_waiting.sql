-- For jobs that the caller has locked and is about to make pending. Locks their flows: nobody adds a
-- member to a batch that is not in the answer, until the caller commits. Nested look-ups, so that a
-- planner without statistics cannot start from all jobs.
create or replace function _jobs_flow_waiting(job_ids bigint[]) returns bigint[]
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
    v_closed bigint[];
begin
    v_closed := array(
        select f.job_id from jobs_flows f
        where f.job_id = any (job_ids) and not f.is_open
        for update skip locked);
    return array(
        select j.id from jobs j
        where j.id = any (job_ids) and j.attempt = 0
            and (select true from jobs_flows f where f.job_id = j.id)
            and (j.id <> all (v_closed) or (
                select true from jobs_flow_edges e
                where e.child_id = j.id and (
                    select (p.finished_at is not null) is false from jobs p
                    where p.id = e.parent_id)
                limit 1)));
end
$$;

comment on function _jobs_flow_waiting is
    'internal: those of these jobs that have never run and wait for parents, or for an open batch';
