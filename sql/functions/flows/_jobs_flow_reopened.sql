-- For ended jobs that this transaction is about to make pending again, while their rows are as they
-- ended: the children that still wait for them count them as not ended. A child that has begun
-- before goes on.
create or replace function _jobs_flow_reopened(job_ids bigint[]) returns void
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
    insert into jobs_flow_changes (child_id, completed, failed, cancelled)
    select e.child_id, -count(*) filter (where p.status = 'completed'),
        -count(*) filter (where p.status = 'failed'),
        -count(*) filter (where p.status = 'cancelled')
    from (
        select j.id, j.status from jobs j
        where j.id = any (job_ids) and (j.finished_at is not null) is true
        offset 0
    ) p
    cross join lateral (
        select e.child_id from jobs_flow_edges e
        where e.parent_id = p.id and e.is_attached
        offset 0
    ) e
    group by e.child_id;
end
$$;

comment on function _jobs_flow_reopened is
    'internal: takes back what the ends of these jobs counted for the jobs that wait for them';
