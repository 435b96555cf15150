-- For whoever ends attempts outside a worker of pgjobs, after the ends: a worker counts its own, and
-- tells them every ten seconds (_jobs_note_ends). Inserts one row for all, and waits for nobody.
--
-- A job that is pending again is one that failed or was lost, where jobs_attempts has its attempt.
--
-- Who was cancelled before its start, maybe while it waited for a retry, has waited and run in no
-- attempt that ends now.
create or replace function _jobs_count_ends(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    -- A duration counts in one bucket of each histogram, so each cell has one of each.
    with ended as materialized (
        select j.queue, j.job_type, case
                when j.finished_at is not null then j.status
                when a.outcome = 'failed' then 'retried'
                else a.outcome end as outcome,
            _jobs_seconds(a.due_at, a.started_at) as waited_s,
            _jobs_seconds(a.started_at, a.ended_at) as ran_s
        from (
            -- Apart, because a planner without statistics may read all jobs in another order.
            select j.queue, j.job_type, j.status, j.id, j.attempt, j.finished_at
            from jobs j
            where j.id = any (job_ids)
            offset 0
        ) j
        left join lateral (
            select a.outcome, a.due_at, a.started_at, a.ended_at
            from jobs_attempts a
            where a.job_id = j.id and a.attempt = j.attempt
                and a.ended_at = coalesce(j.finished_at, a.ended_at)
            offset 0) a on true
    )
    insert into jobs_ends (ends)
    select json_agg(_jobs_told_ends(
        c.queue, c.job_type, c.outcome, c.jobs, c.waited_s, c.wait_bucket, c.ran_s, c.run_bucket))
    from (
        select e.queue, e.job_type, e.outcome, count(*) as jobs,
            sum(e.waited_s) as waited_s, _jobs_bucket(e.waited_s) as wait_bucket,
            sum(e.ran_s) as ran_s, _jobs_bucket(e.ran_s) as run_bucket
        from ended e
        where e.outcome is not null
        group by 1, 2, 3, 6, 8
    ) c
    having count(*) > 0;
end
$$;

comment on function _jobs_count_ends is
    'internal: notes for jobs_history how the latest attempts of these jobs have ended';
