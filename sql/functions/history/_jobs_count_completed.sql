-- For whoever completes jobs outside a worker of pgjobs, while it has their rows locked: see
-- _jobs_count_ends. It may count before the completion, because with that the rows may be deleted.
create or replace function _jobs_count_completed(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_now constant timestamptz := clock_timestamp();
begin
    -- Apart, because a planner without statistics may read all jobs in the order of the groups.
    with ended as materialized (
        select j.queue, j.job_type, _jobs_seconds(j.run_at, j.started_at) as waited_s,
            _jobs_seconds(j.started_at, coalesce(j.finished_at, v_now)) as ran_s
        from jobs j
        where j.id = any (job_ids)
    )
    insert into jobs_ends (ends)
    select json_agg(_jobs_told_ends(
        c.queue, c.job_type, 'completed', c.jobs, c.waited_s, c.wait_bucket, c.ran_s, c.run_bucket))
    from (
        select e.queue, e.job_type, count(*) as jobs, sum(e.waited_s) as waited_s,
            _jobs_bucket(e.waited_s) as wait_bucket, sum(e.ran_s) as ran_s,
            _jobs_bucket(e.ran_s) as run_bucket
        from ended e
        group by 1, 2, 5, 7
    ) c
    having count(*) > 0;
end
$$;

comment on function _jobs_count_completed is
    'internal: notes for jobs_history that these jobs are completed';
