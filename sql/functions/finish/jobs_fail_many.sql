-- Two sessions cannot both win: the rows are locked in id order, so that two batches never deadlock,
-- and the fence is read under the lock.
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
    v_id bigint;
    v_place int;
    v_job jobs;
    v_queues text[] := '{}';
begin
    perform _jobs_check_batch(worker, job_ids, attempts, array[
        cardinality(errors), cardinality(retries), cardinality(retry_ins)]);
    perform _jobs_check_failure(errors, retries, retry_ins);
    foreach v_id in array _jobs_lock_fenced_many(worker, job_ids, attempts) loop
        -- Of an id that stands twice, with two attempts, the later one is held.
        v_place := (select p from generate_subscripts(job_ids, 1) p where job_ids[p] = v_id
                    order by attempts[p] desc limit 1);
        v_job := _jobs_apply_failure(v_id, errors[v_place], retries[v_place], retry_ins[v_place]);
        if v_job.status = 'pending' then
            v_queues := v_queues || v_job.queue;
        end if;
        return next v_id;
    end loop;
    -- Sleeping workers think that nothing is due before what they last saw.
    perform _jobs_signal(v_queues);
end
$$;

comment on function jobs_fail_many is
    'fails what this worker still holds in these attempts, and returns those ids';
