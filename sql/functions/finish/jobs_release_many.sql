-- Two sessions cannot both win: _jobs_lock_fenced_many locks the rows in the order of their ids, so
-- that two batches never deadlock, and reads the fence under the locks.
create or replace function jobs_release_many(
    worker text,
    job_ids bigint[],
    attempts int[],
    run_ats timestamptz[] default null
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_ids bigint[];
    v_run_ats timestamptz[];
    v_held bigint[];
begin
    perform _jobs_check_batch(worker, job_ids, attempts, array[
        coalesce(cardinality(run_ats), cardinality(job_ids))]);
    if exists (select from unnest(run_ats) r
               where r < '0001-01-02 00:00:00+00' or r >= '9999-12-31 00:00:00+00') then
        raise exception using errcode = 'JQ003',
            message = 'run_ats must be moments in the years 1 to 9999';
    end if;
    v_held := _jobs_lock_fenced_many(worker, job_ids, attempts);
    select array_agg(u.job_id), array_agg(u.run_at) into v_ids, v_run_ats
    from (
        select u.job_id, u.run_at
        from unnest(job_ids, attempts, run_ats) u(job_id, attempt, run_at)
        order by u.job_id, u.attempt
    ) u;
    return query
    update jobs j
    set status = case when j.cancel_requested_at is null then 'pending' else 'cancelled' end,
        run_at = coalesce(v_run_ats[width_bucket(j.id, v_ids)], j.run_at),
        -- Another job may hold the key by now: scope pending holds it until the job starts.
        unique_key = case when j.cancel_requested_at is null and j.unique_scope = 'pending'
            then null else j.unique_key end,
        worker = null,
        lease_until = null,
        updated_at = v_now,
        finished_at = case when j.cancel_requested_at is null then null else v_now end
    where j.id = any (v_held)
    returning j.id;
    perform _jobs_signal_jobs(v_held);
end
$$;

comment on function jobs_release_many is
    'gives back the jobs that worker holds, and spends no retry; run_ats: new run_at of each';
