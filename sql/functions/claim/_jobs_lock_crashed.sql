-- Two sessions cannot both win a job: the second skips locked rows.
create or replace function _jobs_lock_crashed(
    queue text,
    priority int,
    job_types text[],
    due timestamptz,
    max_jobs int
) returns bigint[]
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
select array(
    select j.id from jobs j
    where j.status = 'pending' and j.crash_count > 0 and j.group_key is null
        and j.queue = _jobs_lock_crashed.queue
        and j.priority = _jobs_lock_crashed.priority
        and j.run_at <= due
        and j.job_type = any (job_types)
        and not _jobs_is_suspect(j.crash_count, j.max_retries)
    order by j.run_at, j.id
    limit max_jobs
    for no key update skip locked)
$$;

comment on function _jobs_lock_crashed is
    'internal: locks due jobs of a level that were lost before and are no suspects';
