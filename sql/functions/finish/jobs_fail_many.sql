-- Two sessions cannot both win: _jobs_lock_fenced_many locks the rows in the order of their ids, so
-- that two batches never deadlock, and reads the fence under the locks.
create or replace function jobs_fail_many(
    worker text,
    job_ids bigint[],
    attempts int[],
    errors text[],
    retries boolean[],
    retry_ins interval[]
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_held bigint[];
    v_item record;
begin
    perform _jobs_check_batch(worker, job_ids, attempts, array[
        cardinality(errors), cardinality(retries), cardinality(retry_ins)]);
    perform _jobs_check_failure(errors, retries, retry_ins);
    v_held := _jobs_lock_fenced_many(worker, job_ids, attempts);
    for v_item in
        -- If an id is given with two attempts, the worker holds the later attempt.
        select distinct on (u.job_id) u.*
        from unnest(job_ids, attempts, errors, retries, retry_ins)
            u(job_id, attempt, error, retry, retry_in)
        where u.job_id = any (v_held)
        order by u.job_id, u.attempt desc
    loop
        perform _jobs_end_attempt(v_item.job_id, v_item.error, v_item.retry, v_item.retry_in);
        return next v_item.job_id;
    end loop;
    -- A sleeping worker has read the next due time before these jobs were pending.
    perform _jobs_signal_jobs(v_held);
end
$$;

comment on function jobs_fail_many is
    'fails the jobs that worker holds in these attempts, and returns their ids';
