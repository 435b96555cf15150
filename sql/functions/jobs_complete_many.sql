-- Two sessions cannot both win: the update locks each row, in id order so that two batches never
-- deadlock, and re-reads the fence. Only a job that is processing has a worker. The fence is on
-- columns without an index: a planner that sees `status = 'processing'` may walk that index once
-- per row. For the same reason it may join by nested loop over the primary key only.
create or replace function jobs_complete_many(
    worker text,
    job_ids bigint[],
    attempts int[],
    results jsonb[],
    keep boolean default true
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
begin
    perform jobs_check_batch(worker, job_ids, attempts, array[cardinality(results)]);
    if keep is false then
        return query
        delete from jobs j
        using (
            select u.job_id, u.attempt from unnest(job_ids, attempts) u(job_id, attempt)
            order by u.job_id
        ) done
        where j.id = done.job_id
            and j.worker = jobs_complete_many.worker
            and j.attempt = done.attempt
            and j.finished_at is null
        returning j.id;
    else
        return query
        update jobs j
        set status = 'completed',
            result = done.result,
            error = null,
            worker = null,
            lease_until = null,
            updated_at = v_now,
            finished_at = v_now
        from (
            select u.job_id, u.attempt, u.result
            from unnest(job_ids, attempts, results) u(job_id, attempt, result)
            order by u.job_id
        ) done
        where j.id = done.job_id
            and j.worker = jobs_complete_many.worker
            and j.attempt = done.attempt
            and j.finished_at is null
        returning j.id;
    end if;
end
$$;

comment on function jobs_complete_many is
    'completes what this worker still holds in these attempts, and returns those ids';
