-- Two sessions cannot both win: the update locks each row and reads the fence again under the lock;
-- only a processing job has a worker. Two batches never deadlock: an index scan for `= any` visits
-- its keys in order.
--
-- For workers of pgjobs, which count the ends themselves (_jobs_note_ends).
--
-- There is no join, because a planner with statistics of an empty table, or none, may start the
-- join from the table and read all of it once per job. Instead width_bucket finds a row's
-- attempt and result by the place of the row's id among the sorted ids. And the fence uses columns
-- without an index, because the planner may prefer an index on `status` to the primary key;
-- `is null` of finished_at would use an index too.
create or replace function _jobs_complete_uncounted(
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
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_ids bigint[];
    v_attempts int[];
    v_results jsonb[];
begin
    if not _jobs_is_batch(worker, job_ids, attempts, array[cardinality(results)]) then
        perform _jobs_check_batch(worker, job_ids, attempts, array[cardinality(results)]);
    end if;
    if keep is false then
        return query
        select d.id from _jobs_complete_and_delete(worker, job_ids, attempts, results) d(id);
        return;
    end if;
    select array_agg(u.job_id), array_agg(u.attempt), array_agg(u.result)
    into v_ids, v_attempts, v_results
    from (
        select u.job_id, u.attempt, u.result
        from unnest(job_ids, attempts, results) u(job_id, attempt, result)
        order by u.job_id, u.attempt
    ) u;
    return query
    update jobs j
    set status = 'completed',
        result = v_results[width_bucket(j.id, v_ids)],
        error = null,
        worker = null,
        lease_until = null,
        updated_at = v_now,
        finished_at = v_now
    where j.id = any (v_ids)
        and j.worker = _jobs_complete_uncounted.worker
        and j.attempt = v_attempts[width_bucket(j.id, v_ids)]
        and (j.finished_at is not null) is false
    returning j.id;
    -- After the rows are locked, in a later statement: _jobs_flow_attach relies on it.
    if exists (select from jobs_queues q where q.ends_free_places)
        or exists (select from jobs_watched w where w.job_id = any (v_ids))
        or exists (select from jobs_flow_edges e where e.parent_id = any (v_ids))
    then
        perform _jobs_free_places(v_ids), _jobs_tell_watchers(v_ids), _jobs_flow_ended(array(
            select j.id from jobs j
            where j.id = any (v_ids)
                and (j.status = 'completed' and j.finished_at = v_now) is true));
    end if;
end
$$;

comment on function _jobs_complete_uncounted is
    'internal: completes the jobs that worker holds in these attempts; their ends are not counted';
