-- For a job of scope pending that its caller has just made pending without its key: the job takes
-- its key again. Where a newer job holds the key, or has begun with it since, that one runs with
-- newer data, so this job ends. Where an older one waits for a retry, that one ends. No unique
-- violation reaches the worker.
--
-- Two sessions cannot both win the key: the unique index decides. Newer jobs are looked for after
-- that: a claim that was under way has committed then.
create or replace function _jobs_take_key(job_id bigint, unique_key text) returns jobs
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_max_tries constant int := 10;
    v_job jobs;
    v_holder jobs;
    v_newer bigint;
    v_reason text;
begin
    for v_try in 1..c_max_tries loop
        begin
            update jobs j set unique_key = _jobs_take_key.unique_key
            where j.id = job_id
            returning j.* into v_job;
            v_newer := _jobs_key_successor(v_job);
            if v_newer is null then
                return v_job;
            end if;
            v_reason := format('job %s has begun with this key since', v_newer);
        exception
            when unique_violation then
                select j.* into v_job from jobs j where j.id = job_id;
                select h.* into v_holder
                from _jobs_key_holder(v_job.job_type, _jobs_take_key.unique_key) h;
                continue when not found
                    or _jobs_give_way(v_holder, is_replaced => v_holder.id < job_id);
                v_reason := format('job %s waits with this key', v_holder.id);
        end;
        update jobs j
        set status = 'cancelled',
            error = concat_ws(e'\n', v_reason, j.error),
            unique_key = _jobs_take_key.unique_key,
            finished_at = j.updated_at
        where j.id = job_id
        returning j.* into v_job;
        return v_job;
    end loop;
    return v_job;
end
$$;

comment on function _jobs_take_key is
    'internal: gives a waiting job its unique_key again, or ends it where a newer job has the key';
