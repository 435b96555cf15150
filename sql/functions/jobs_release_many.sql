-- Two sessions cannot both win: the rows are locked in id order, so that two batches never deadlock,
-- and the fence is read under the lock.
create or replace function jobs_release_many(
    worker text,
    job_ids bigint[],
    attempts int[],
    run_ats timestamptz[] default null
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_held int[];
    v_queues text[];
begin
    perform jobs_check_batch(worker, job_ids, attempts, array[
        coalesce(cardinality(run_ats), cardinality(job_ids))]);
    if exists (select from unnest(run_ats) r where not isfinite(r)) then
        raise exception using errcode = 'JQ003', message = 'run_ats must be moments, not infinity';
    end if;
    v_held := jobs_held(worker, job_ids, attempts);
    return query
    update jobs j
    set status = case when j.cancel_requested_at is null then 'pending' else 'cancelled' end,
        run_at = coalesce(back.run_at, j.run_at),
        worker = null,
        lease_until = null,
        updated_at = v_now,
        finished_at = case when j.cancel_requested_at is null then null else v_now end
    from (
        select job_ids[p] as job_id, run_ats[p] as run_at from unnest(v_held) p order by 1
    ) back
    where j.id = back.job_id
    returning j.id;
    select array_agg(distinct j.queue) into v_queues
    from unnest(v_held) p join jobs j on j.id = job_ids[p];
    perform jobs_wake(v_queues);
end
$$;

comment on function jobs_release_many is
    'gives back what this worker still holds, no retry spent; with run_ats, not before those moments';
