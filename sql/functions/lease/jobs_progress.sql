-- Two sessions cannot both win: each row is locked, and its fence is read under the lock. A row that
-- another session has locked is skipped, since the worker reports again soon: a handler's open
-- transaction must not hold up what the other handlers report.
--
-- No index has the column, and updated_at stays as it is, as at a heartbeat.
create or replace function jobs_progress(
    worker text,
    job_ids bigint[],
    attempts int[],
    progress jsonb[]
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_ids bigint[];
    v_progress jsonb[];
    v_held bigint[];
begin
    perform _jobs_check_batch(worker, job_ids, attempts, array[cardinality(jobs_progress.progress)]);
    if array_ndims(jobs_progress.progress) > 1 or array_lower(jobs_progress.progress, 1) <> 1 then
        raise exception using errcode = 'JQ003', message = 'progress must be a plain list';
    end if;
    v_held := _jobs_lock_fenced_many(worker, job_ids, attempts, wait => false);
    select array_agg(u.job_id), array_agg(u.progress) into v_ids, v_progress
    from (
        select u.job_id, u.progress
        from unnest(job_ids, attempts, jobs_progress.progress) u(job_id, attempt, progress)
        order by u.job_id, u.attempt
    ) u;
    return query
    update jobs j
    set progress = v_progress[width_bucket(j.id, v_ids)]
    where j.id = any (v_held)
    returning j.id;
end
$$;

comment on function jobs_progress is
    'stores what handlers report of jobs that worker holds in these attempts; returns the ids';
