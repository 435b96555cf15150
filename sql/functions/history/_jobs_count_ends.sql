-- For whoever ends attempts outside a worker of pgjobs, after the ends: a worker counts its own, and
-- tells them every ten seconds (_jobs_note_ends). Inserts one row for all, and waits for nobody.
--
-- as_completed: the jobs are locked, and are completed next; their rows may be deleted by that. Else a
-- job that is pending again is one that failed or was lost, where jobs_attempts has its attempt.
create or replace function _jobs_count_ends(job_ids bigint[], as_completed boolean default false)
returns void
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
    v_ends json;
begin
    -- A duration counts in one bucket of each histogram, so each row of cells has one of each.
    select json_agg(json_build_array(
        c.queue, c.job_type, c.outcome, c.jobs,
        c.waited_s, case when c.wait_bucket is not null
            then json_build_object(c.wait_bucket, c.jobs) else '{}' end,
        c.ran_s, case when c.run_bucket is not null
            then json_build_object(c.run_bucket, c.jobs) else '{}' end))
    into v_ends
    from (
        select e.queue, e.job_type, e.outcome, count(*) as jobs,
            coalesce(sum(e.waited_s), 0) as waited_s, _jobs_bucket(e.waited_s) as wait_bucket,
            coalesce(sum(e.ran_s), 0) as ran_s, _jobs_bucket(e.ran_s) as run_bucket
        from (
            select t.queue, t.job_type, t.outcome,
                case when t.started_at is not null then greatest(
                    extract(epoch from t.started_at - t.due_at)::float8, 0) end as waited_s,
                case when t.started_at is not null then greatest(
                    extract(epoch from t.ended_at - t.started_at)::float8, 0) end as ran_s
            from (
                select j.queue, j.job_type, case
                        when as_completed then 'completed'
                        when j.finished_at is not null then j.status
                        when a.outcome = 'failed' then 'retried'
                        else a.outcome end as outcome,
                    -- Who was cancelled before its start, maybe while it waited for a retry, has
                    -- waited and run in no attempt that ends now.
                    case when a.job_id is not null or as_completed or j.status = 'completed'
                        then coalesce(a.started_at, j.started_at) end as started_at,
                    coalesce(a.due_at, j.run_at) as due_at,
                    coalesce(a.ended_at, j.finished_at, clock_timestamp()) as ended_at
                from unnest(job_ids) u(id)
                cross join lateral (
                    select j.queue, j.job_type, j.status, j.attempt, j.run_at, j.started_at,
                        j.finished_at, j.id
                    from jobs j where j.id = u.id offset 0) j
                left join lateral (
                    select a.job_id, a.outcome, a.due_at, a.started_at, a.ended_at
                    from jobs_attempts a
                    where not as_completed and j.status <> 'completed'
                        and a.job_id = j.id and a.attempt = j.attempt
                        and a.ended_at = coalesce(j.finished_at, a.ended_at) offset 0) a on true
            ) t
        ) e
        where e.outcome is not null
        group by 1, 2, 3, 6, 8
    ) c;
    if v_ends is not null then
        insert into jobs_ends (ends) values (v_ends);
    end if;
end
$$;

comment on function _jobs_count_ends is
    'internal: notes for jobs_history how the latest attempts of these jobs have ended';
