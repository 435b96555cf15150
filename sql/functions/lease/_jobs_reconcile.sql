-- backend: the process that served a claim whose answer was lost. While it lives it may still make
-- that claim.
create or replace function _jobs_reconcile(
    worker text,
    job_ids bigint[],
    attempts int[],
    backend int,
    registration bigint default null
) returns table (released bigint, is_settled boolean)
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set jit = off
as $$
#variable_conflict use_column
begin
    -- Read first: a claim that ends in between is undone or seen.
    is_settled := backend is not null and not exists (
        select from pg_stat_activity a where a.pid = backend and a.pid <> pg_backend_pid());
    released := _jobs_release_unnamed(worker, job_ids, attempts, 'infinity', registration);
    -- A row that another session has locked is not given back yet.
    is_settled := is_settled and 0 = (
        select count(*)
        from (
            select from jobs j
            where j.status = 'processing' and j.worker = _jobs_reconcile.worker
                and j.started_at < 'infinity'
                and not exists (select from unnest(job_ids, attempts) n(id, attempt)
                                where n.id = j.id and n.attempt = j.attempt)
            -- In the order of ix_jobs_status, as in _jobs_release_unnamed.
            order by j.status, j.finished_at
        ) u);
    return next;
end
$$;

comment on function _jobs_reconcile is
    'internal: gives back what a worker does not name; is_settled: no lost claim can follow';
