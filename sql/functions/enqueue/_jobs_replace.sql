-- Two sessions cannot both win: the second one waits for the row's lock, then changes what the first
-- one has written. A claim skips the row while it is locked. Of a row that a claim took first nothing
-- is changed, and nothing is returned.
create or replace function _jobs_replace(holder jobs, given jobs, max_wait interval)
returns setof jobs
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_job jobs;
begin
    update jobs j
    set payload = given.payload,
        queue = given.queue,
        priority = given.priority,
        run_at = least(given.run_at, _jobs_after(j.created_at, max_wait)),
        reference_type = given.reference_type,
        reference_id = given.reference_id,
        reference_key = given.reference_key,
        max_retries = given.max_retries,
        backoff = given.backoff,
        group_key = given.group_key,
        headers = given.headers,
        expires_at = given.expires_at,
        error = null,
        updated_at = clock_timestamp()
    where j.id = holder.id and j.unique_key = holder.unique_key
        and j.status in ('pending', 'blocked') and j.attempt = 0
    returning j.* into v_job;
    if not found then
        return;
    end if;
    -- Workers that sleep know the old place and moment; a later moment they find by themselves.
    if v_job.run_at < holder.run_at
        or (v_job.queue, v_job.priority, v_job.group_key)
            is distinct from (holder.queue, holder.priority, holder.group_key)
    then
        perform _jobs_signal_jobs(array[v_job.id]);
    end if;
    return next v_job;
end
$$;

comment on function _jobs_replace is
    'internal: gives a waiting job that was never claimed all that a new call gives';
