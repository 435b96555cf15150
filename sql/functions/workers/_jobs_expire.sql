-- Two sessions cannot both end a job: a locked row is skipped, and a claim's commit changes the
-- status that the lock is read with. A job that failed or was lost before has begun, so its retries
-- do not expire.
create or replace function _jobs_expire(max_jobs int) returns bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_ids bigint[];
begin
    v_ids := array(
        select j.id from jobs j
        where j.status = 'pending' and j.expires_at is not null
            and j.retry_count = 0 and j.crash_count = 0
            and j.expires_at <= v_now
        order by j.expires_at
        limit max_jobs
        for no key update skip locked);
    if v_ids <> '{}' then
        update jobs j
        set status = 'cancelled',
            error = 'expired',
            updated_at = v_now,
            finished_at = v_now
        where j.id = any (v_ids);
        perform _jobs_signal_jobs(v_ids), _jobs_count_ends(v_ids);
    end if;
    return cardinality(v_ids);
end
$$;

comment on function _jobs_expire is
    'internal: ends up to max_jobs jobs that have not begun by their expires_at; returns how many';
