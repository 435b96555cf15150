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
    v_keyed bigint[];
    v_keys text[];
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
    select k.ids, k.keys into v_keyed, v_keys from _jobs_keyed(v_held) k;
    return query
    update jobs j
    set status = case when j.cancel_requested_at is null then 'pending' else 'cancelled' end,
        run_at = coalesce(v_run_ats[width_bucket(j.id, v_ids)], j.run_at),
        unique_key = case when j.id <> all (v_keyed) then j.unique_key end,
        worker = null,
        lease_until = null,
        updated_at = v_now,
        finished_at = case when j.cancel_requested_at is null then null else v_now end
    where j.id = any (v_held)
    returning j.id;
    for v_place in 1..cardinality(v_keyed) loop
        perform _jobs_take_key(v_keyed[v_place], v_keys[v_place]);
    end loop;
    perform _jobs_signal_jobs(v_held);
    if exists (select from jobs j where j.id = any (v_held) and (j.status = 'cancelled') is true) then
        perform _jobs_count_ends(v_held);
    end if;
end
$$;

comment on function jobs_release_many is
    'gives back the jobs that worker holds, and spends no retry; run_ats: new run_at of each';
