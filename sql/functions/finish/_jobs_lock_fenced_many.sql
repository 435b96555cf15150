-- Two sessions cannot both win: each row is locked, and its fence is read under the lock. The locks
-- are taken in the order of the ids: an index scan for `= any` visits its keys in order.
-- jobs_complete_many says why there is no join.
create or replace function _jobs_lock_fenced_many(
    worker text,
    job_ids bigint[],
    attempts int[],
    wait boolean default true
) returns bigint[]
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_ids bigint[];
    v_attempts int[];
begin
    select array_agg(u.job_id), array_agg(u.attempt) into v_ids, v_attempts
    from (
        select u.job_id, u.attempt from unnest(job_ids, attempts) u(job_id, attempt)
        order by u.job_id, u.attempt
    ) u;
    if wait then
        return array(
            select j.id from jobs j
            where j.id = any (v_ids) and j.worker = _jobs_lock_fenced_many.worker
                and j.attempt = v_attempts[width_bucket(j.id, v_ids)]
                and (j.finished_at is not null) is false
            for no key update);
    end if;
    return array(
        select j.id from jobs j
        where j.id = any (v_ids) and j.worker = _jobs_lock_fenced_many.worker
            and j.attempt = v_attempts[width_bucket(j.id, v_ids)]
            and (j.finished_at is not null) is false
        for no key update skip locked);
end
$$;

comment on function _jobs_lock_fenced_many is
    'internal: locks the rows that pass the fence, in the order of their ids, and returns the ids';
