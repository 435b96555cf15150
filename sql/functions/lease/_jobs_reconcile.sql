-- backend: the process that served a claim whose answer was lost. While it lives it may still make
-- that claim.
create or replace function _jobs_reconcile(
    worker text,
    job_ids bigint[],
    attempts int[],
    backend int
) returns table (released bigint, is_settled boolean)
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
begin
    -- Read first: a claim that ends in between is undone or seen.
    is_settled := backend is not null and not exists (
        select from pg_stat_activity a where a.pid = backend);
    released := _jobs_release_unnamed(worker, job_ids, attempts, 'infinity');
    return next;
end
$$;

comment on function _jobs_reconcile is
    'internal: gives back what a worker does not name; is_settled: no lost claim can follow';
