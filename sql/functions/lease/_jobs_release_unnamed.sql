-- Two sessions cannot both win: this function locks the rows, and jobs_release_many reads the fence
-- under the locks. A row that another session has locked is skipped until the next heartbeat,
-- because waiting for that row would let the leases of all other jobs run out.
--
-- A worker names all jobs that it knows to hold. A job that it holds and does not name was claimed
-- by a statement whose answer was lost. claimed_before: leaves alone what was claimed later, since
-- its answer may be on its way. registration: the listening_key of the worker that calls. Where
-- another worker has got its name meanwhile, nothing is given back.
create or replace function _jobs_release_unnamed(
    worker text,
    job_ids bigint[],
    attempts int[],
    claimed_before timestamptz,
    registration bigint default null
) returns bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set jit = off
as $$
declare
    v_ids bigint[];
    v_attempts int[];
begin
    if registration is not null and not exists (
        select from jobs_workers w
        where w.worker = _jobs_release_unnamed.worker and w.listening_key = registration)
    then
        return 0;
    end if;
    select array_agg(u.id), array_agg(u.attempt) into v_ids, v_attempts
    from (
        select j.id, j.attempt from jobs j
        where j.status = 'processing' and j.worker = _jobs_release_unnamed.worker
            and j.started_at < claimed_before
            and not exists (select from unnest(job_ids, attempts) n(id, attempt)
                            where n.id = j.id and n.attempt = j.attempt)
        -- In the order of ix_jobs_status, or the planner may read the whole table by its key.
        order by j.status, j.finished_at
        for no key update skip locked
    ) u;
    if v_ids is null then
        return 0;
    end if;
    return (select count(*) from jobs_release_many(worker, v_ids, v_attempts));
end
$$;

comment on function _jobs_release_unnamed is
    'internal: gives back the jobs of claims whose answers never reached their worker';
