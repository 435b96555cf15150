-- Two sessions cannot both win: the second one waits for the row's lock, then changes what the
-- first one has written. A claim skips the row while it is locked. Of a row that a claim took first
-- nothing is changed.
--
-- Returns no row where the key may be free by now: then the caller inserts again. A function of its
-- own, because each row variable costs a lone enqueue a microsecond.
create or replace function _jobs_on_conflict(
    job_type text,
    payload jsonb,
    queue text,
    priority int,
    run_at timestamptz,
    reference_type text,
    reference_id bigint,
    max_retries int,
    unique_key text,
    backoff interval[],
    reference_key text,
    group_key text,
    headers jsonb,
    expires_at timestamptz,
    on_conflict text,
    max_wait interval
) returns setof jobs
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_replaces boolean := coalesce(on_conflict in ('replace', 'debounce'), false);
    v_holder jobs;
    v_job jobs;
begin
    select h.* into v_holder
    from _jobs_key_holder(_jobs_on_conflict.job_type, _jobs_on_conflict.unique_key) h;
    if not found then
        perform _jobs_check_ids();
        return;
    elsif _jobs_give_way(v_holder, v_replaces) then
        return;
    elsif on_conflict = 'raise' then
        raise exception using errcode = 'JQ004',
            message = format('job %s of type %s holds the unique_key %L, and nothing was added',
                             v_holder.id, v_holder.job_type, v_holder.unique_key);
    elsif not v_replaces or v_holder.status not in ('pending', 'blocked') or v_holder.attempt > 0
    then
        -- A producer that may not read jobs could otherwise read them by guessing keys.
        if not _jobs_may_read() then
            v_holder.payload := null;
            v_holder.result := null;
            v_holder.error := null;
            v_holder.headers := null;
            v_holder.progress := null;
        end if;
        return next v_holder;
        return;
    end if;
    update jobs j
    set payload = coalesce(_jobs_on_conflict.payload, '{}'),
        queue = coalesce(_jobs_on_conflict.queue, 'default'),
        priority = coalesce(_jobs_on_conflict.priority, 0),
        run_at = least(coalesce(_jobs_on_conflict.run_at, clock_timestamp()),
                       _jobs_after(j.created_at, max_wait)),
        reference_type = _jobs_on_conflict.reference_type,
        reference_id = _jobs_on_conflict.reference_id,
        reference_key = _jobs_on_conflict.reference_key,
        max_retries = coalesce(_jobs_on_conflict.max_retries, 3),
        backoff = _jobs_on_conflict.backoff,
        group_key = _jobs_on_conflict.group_key,
        headers = _jobs_on_conflict.headers,
        expires_at = _jobs_on_conflict.expires_at,
        error = null,
        updated_at = clock_timestamp()
    where j.id = v_holder.id and j.unique_key = v_holder.unique_key
        and j.status in ('pending', 'blocked') and j.attempt = 0
    returning j.* into v_job;
    if not found then
        return;
    end if;
    -- Workers that sleep know the old place and moment; a later moment they find by themselves.
    if v_job.run_at < v_holder.run_at
        or (v_job.queue, v_job.priority, v_job.group_key)
            is distinct from (v_holder.queue, v_holder.priority, v_holder.group_key)
    then
        perform _jobs_signal_jobs(array[v_job.id]);
    end if;
    return next v_job;
end
$$;

comment on function _jobs_on_conflict is
    'internal: what jobs_enqueue does where a job holds the key: returns, raises or replaces';
