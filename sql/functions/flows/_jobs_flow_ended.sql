-- For jobs that have just ended in this transaction: their children are told of it. Called after the
-- rows of the jobs are locked, by a later statement. So an edge is either seen here, or attached by
-- a session that finds the job ended (_jobs_flow_attach). Edges that are not attached yet count
-- there, not here.
create or replace function _jobs_flow_ended(job_ids bigint[]) returns void
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
    insert into jobs_flow_changes (child_id, completed, failed, cancelled, kept, culprit)
    select e.child_id, count(*) filter (where p.status = 'completed'),
        count(*) filter (where p.status = 'failed'), count(*) filter (where p.status = 'cancelled'),
        count(*) filter (where p.marks & 1 = 1), min(p.id) filter (where p.status <> 'completed')
    from (
        select j.id, j.status, j.marks from jobs j
        where j.id = any (job_ids) and (j.finished_at is not null) is true
        offset 0
    ) p
    cross join lateral (
        select e.child_id from jobs_flow_edges e
        where e.parent_id = p.id and e.is_attached
        offset 0
    ) e
    group by e.child_id;
    perform _jobs_flow_tell();
end
$$;

comment on function _jobs_flow_ended is
    'internal: notes the ends of these jobs for the jobs that wait for them';
