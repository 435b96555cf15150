create or replace function _jobs_holds_crashed(worker text, only_suspects boolean) returns boolean
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
select exists (
    select from (
        select from jobs j
        where j.status = 'processing' and j.worker = _jobs_holds_crashed.worker
            and j.crash_count > 0
            and (not only_suspects or _jobs_is_suspect(j.crash_count, j.max_retries))
        -- In the order of ix_jobs_status, or the planner may read all of ix_jobs_job_type.
        order by j.status, j.finished_at
        limit 1) h)
$$;

comment on function _jobs_holds_crashed is
    'internal: whether a worker holds a job that was lost before';
