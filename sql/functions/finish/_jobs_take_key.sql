-- For a job of scope pending that its caller has just made pending without its key: the job takes
-- its key again. Where a newer job holds the key, that one runs with newer data, so this job ends.
-- Where an older one waits for a retry, that one ends. No unique violation reaches the worker.
--
-- Two sessions cannot both win the key: the unique index decides. All who take several keys take
-- them in the order of type and key, so that they never deadlock.
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
begin
    for v_try in 1..c_max_tries loop
        begin
            update jobs j set unique_key = _jobs_take_key.unique_key
            where j.id = job_id
            returning j.* into v_job;
            return v_job;
        exception
            when unique_violation then
                null;
        end;
        select j.* into v_job from jobs j where j.id = job_id;
        select h.* into v_holder from _jobs_key_holder(v_job.job_type, _jobs_take_key.unique_key) h;
        continue when not found
            or _jobs_give_way(v_holder, is_replaced => v_holder.id < _jobs_take_key.job_id);
        update jobs j
        set status = 'cancelled',
            error = concat_ws(e'\n', format('job %s waits with this key', v_holder.id),
                              j.error),
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
    'internal: gives a waiting job its unique_key again, or ends it where another job has the key';
