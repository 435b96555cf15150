-- Two sessions cannot both win: _jobs_lock_fenced_many locks the rows in the order of their ids, so
-- that two batches never deadlock, and reads the fence under the locks.
--
-- A worker calls this for jobs whose child process died: their worker itself lives on, so that
-- recovery would never find them.
create or replace function _jobs_crash_many(
    worker text,
    job_ids bigint[],
    attempts int[],
    errors text[]
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_held bigint[];
    v_item record;
begin
    perform _jobs_check_batch(worker, job_ids, attempts, array[cardinality(errors)]);
    v_held := _jobs_lock_fenced_many(worker, job_ids, attempts);
    for v_item in
        -- If an id is given with two attempts, the worker holds the later attempt.
        select distinct on (u.job_id) u.*
        from unnest(job_ids, attempts, errors) u(job_id, attempt, error)
        where u.job_id = any (v_held)
        order by u.job_id, u.attempt desc
    loop
        perform _jobs_end_attempt(v_item.job_id, v_item.error, lost_at => clock_timestamp());
        return next v_item.job_id;
    end loop;
    perform _jobs_signal_jobs(v_held);
end
$$;

comment on function _jobs_crash_many is
    'internal: counts a crash for the jobs that worker holds in these attempts; returns their ids';
