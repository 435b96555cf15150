-- Two sessions cannot both win: _jobs_lock_fenced locks the row and raises for the second session.
create or replace function jobs_complete(
    job_id bigint,
    result jsonb default null,
    worker text default null,
    attempt int default null
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_now constant timestamptz := clock_timestamp();
    v_job jobs;
    v_is_parent boolean := false;
begin
    v_job := _jobs_lock_fenced(job_id, worker, attempt);
    if exists (select from jobs_queues q where q.ends_free_places)
        or exists (select from jobs_watched w where w.job_id = jobs_complete.job_id)
        or exists (select from jobs_flow_edges e where e.parent_id = jobs_complete.job_id)
    then
        v_is_parent := exists (
            select from jobs_flow_edges e where e.parent_id = jobs_complete.job_id);
        perform _jobs_free_places(array[job_id]), _jobs_tell_watchers(array[job_id]);
    end if;
    return query
    update jobs j
    set status = 'completed',
        result = jobs_complete.result,
        error = null,
        worker = null,
        lease_until = null,
        updated_at = clock_timestamp(),
        finished_at = clock_timestamp()
    where j.id = job_id
    returning j.*;
    insert into jobs_ends (ends)
    select json_build_array(_jobs_told_ends(
        v_job.queue, v_job.job_type, 'completed', 1, b.waited_s, b.wait_bucket, b.ran_s,
        b.run_bucket))
    from (
        select e.waited_s, _jobs_bucket(e.waited_s) as wait_bucket, e.ran_s,
            _jobs_bucket(e.ran_s) as run_bucket
        from (
            select _jobs_seconds(v_job.run_at, v_job.started_at) as waited_s,
                _jobs_seconds(v_job.started_at, v_now) as ran_s
            offset 0
        ) e
        -- PostgreSQL inlines a function only if its arguments are cheap.
        offset 0
    ) b;
    if v_is_parent then
        perform _jobs_flow_ended(array[job_id]);
    end if;
end
$$;

comment on function jobs_complete is
    'processing -> completed; with worker and attempt, only if both still hold the job';
