-- For jobs that the caller has locked and found to have ended. A retry by hand does not expire: who
-- asks for it wants the job to run. A job that has never run and whose parents have not all ended
-- waits for them again. Raises unique_violation where another job holds the key of one of them.
create or replace function _jobs_make_pending(job_ids bigint[]) returns setof jobs
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_waiting bigint[] := '{}';
begin
    if exists (select from jobs_flows f) then
        perform _jobs_flow_reopened(job_ids);
        v_waiting := _jobs_flow_waiting(job_ids);
    end if;
    return query
    update jobs j
    set status = case when j.id = any (v_waiting) then 'blocked' else 'pending' end,
        retry_count = 0,
        crash_count = 0,
        run_at = clock_timestamp(),
        progress = null,
        result = null,
        error = null,
        worker = null,
        lease_until = null,
        cancel_requested_at = null,
        expires_at = null,
        marks = j.marks & ~1,
        updated_at = clock_timestamp(),
        finished_at = null
    where j.id = any (job_ids)
    returning j.*;
    if v_waiting <> '{}' then
        -- Only parents that had ended can have been deleted since. They count no more.
        delete from jobs_flow_edges e
        where e.child_id = any (v_waiting)
            and (select true from jobs p where p.id = e.parent_id) is null;
        perform _jobs_flow_recount(w.id) from unnest(v_waiting) w(id);
        perform _jobs_flow_tell();
    end if;
end
$$;

comment on function _jobs_make_pending is
    'internal: makes these jobs pending now, or blocked by their parents, with their counts at 0';
