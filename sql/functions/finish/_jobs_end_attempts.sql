-- Two sessions cannot both win: _jobs_lock_fenced_many locks the rows in the order of their ids, so
-- that two batches never deadlock, and reads the fence under the locks. The attempts end in the
-- order of the keys that their jobs may take again.
--
-- A worker calls this itself, to log what becomes of each job. crashed: the jobs' child processes
-- have died. Their worker lives on, so that recovery would never find these jobs.
create or replace function _jobs_end_attempts(
    worker text,
    job_ids bigint[],
    attempts int[],
    errors text[],
    retries boolean[],
    retry_ins interval[],
    crashed boolean default false,
    error_kinds text[] default null
) returns table (id bigint, status text, retry_count int, crash_count int, due_in interval)
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_held bigint[];
    v_keyed bigint[];
    v_item record;
    v_job jobs;
begin
    perform _jobs_check_batch(worker, job_ids, attempts, array[
        cardinality(errors), cardinality(retries), cardinality(retry_ins),
        coalesce(cardinality(error_kinds), cardinality(job_ids))]);
    perform _jobs_check_failure(errors, retries, retry_ins, error_kinds);
    v_held := _jobs_lock_fenced_many(worker, job_ids, attempts);
    v_keyed := (select k.ids from _jobs_keyed(v_held) k);
    for v_item in
        -- If an id is given with two attempts, the worker holds the later attempt.
        select distinct on (array_position(v_keyed, u.job_id), u.job_id) u.*
        from unnest(job_ids, attempts, errors, retries, retry_ins, error_kinds)
            u(job_id, attempt, error, retry, retry_in, error_kind)
        where u.job_id = any (v_held)
        order by array_position(v_keyed, u.job_id), u.job_id, u.attempt desc
    loop
        v_job := _jobs_end_attempt(v_item.job_id, v_item.error, v_item.retry, v_item.retry_in,
                                   lost_at => case when crashed then clock_timestamp() end,
                                   error_kind => v_item.error_kind);
        id := v_job.id;
        status := v_job.status;
        retry_count := v_job.retry_count;
        crash_count := v_job.crash_count;
        due_in := greatest(v_job.run_at - v_job.updated_at, '0');
        return next;
    end loop;
    -- A sleeping worker has read the next due time before these jobs were pending.
    perform _jobs_signal_jobs(v_held);
end
$$;

comment on function _jobs_end_attempts is
    'internal: fails or crashes the jobs that worker holds in these attempts; what became of each';
