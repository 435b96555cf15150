-- A job whose worker was lost twice may be what kills the worker, so a worker holds at most one such
-- job at a time: the others that were lost with it run on elsewhere, or after it, and are not
-- dragged down by its next crash. It comes first in its queue: its backoff has put it behind all that
-- is due. jobs_claim asks only where the queue has jobs that were lost, which is rare.
create or replace function _jobs_lock_suspect(
    worker text,
    queue text,
    job_types text[],
    due timestamptz
) returns bigint[]
language plpgsql volatile
set search_path from current
as $$
begin
    if exists (
        select from jobs j
        where j.status = 'processing' and j.worker = _jobs_lock_suspect.worker
            and j.crash_count > 0 and j.crash_count >= least(j.max_retries, 2)
    ) then
        return '{}';
    end if;
    return array(
        select j.id from jobs j
        where j.status = 'pending'
            and j.queue = _jobs_lock_suspect.queue
            and j.run_at <= due
            and (job_types is null or j.job_type = any (job_types))
            and j.crash_count > 0 and j.crash_count >= least(j.max_retries, 2)
        order by j.priority desc, j.run_at, j.id
        limit 1
        for update skip locked);
end
$$;

comment on function _jobs_lock_suspect is
    'internal: locks one due job of a queue that has already lost its worker twice';
