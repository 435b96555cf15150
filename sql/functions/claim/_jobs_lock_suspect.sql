-- Two sessions cannot both win a suspect: the second skips locked rows.
--
-- A suspect may kill its worker again, and a job that was lost once may be what killed it. So a
-- worker that sends one claim at a time holds a suspect only without any other job that was lost:
-- those run on other workers, or later, where that crash does not reach them. The suspect comes
-- first in its queue, because its backoff has put it behind all due jobs. jobs_claim calls this
-- only for a queue that has crashed jobs, which is rare.
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
    if _jobs_holds_crashed(worker, only_suspects => false) then
        return '{}';
    end if;
    return array(
        select j.id from jobs j
        where j.status = 'pending'
            and j.group_key is null
            and j.queue = _jobs_lock_suspect.queue
            and j.run_at <= due
            and (job_types is null or j.job_type = any (job_types))
            and _jobs_is_suspect(j.crash_count, j.max_retries)
        order by j.priority desc, j.run_at, j.id
        limit 1
        for no key update skip locked);
end
$$;

comment on function _jobs_lock_suspect is
    'internal: locks the first due suspect of a queue, if the worker holds no job that was lost';
