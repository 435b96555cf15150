-- For jobs that the caller has just deleted: what other tables hold of them goes too. A row of a flow
-- that another session has locked stays, and so does that of a job whose parents were kept for it:
-- _jobs_flow_tidy deletes these. So nothing waits here.
create or replace function _jobs_forget(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_flows bigint[];
begin
    delete from jobs_attempts a where a.job_id = any (job_ids);
    -- Without flows this is one probe, not one for each job.
    if exists (select from jobs_flows f) then
        v_flows := array(
            select f.job_id from jobs_flows f
            where f.job_id = any (job_ids) and not f.keeps_parents
            for update skip locked);
        delete from jobs_flow_edges e where e.child_id = any (v_flows);
        delete from jobs_flows f where f.job_id = any (v_flows);
    end if;
end
$$;

comment on function _jobs_forget is
    'internal: deletes the attempts and flows of jobs that are gone';
