-- Two sessions cannot both win: the rows are locked in id order, so that two batches never deadlock,
-- and the fence is read under the lock.
create or replace function jobs_fail_many(
    worker text,
    job_ids bigint[],
    attempts int[],
    errors text[],
    retries boolean[],
    retry_ins interval[]
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_held int[];
begin
    perform jobs_check_batch(worker, job_ids, attempts, array[
        cardinality(errors), cardinality(retries), cardinality(retry_ins)]);
    v_held := jobs_held(worker, job_ids, attempts);
    return query
    select f.id
    from (
        select array_agg(job_ids[p] order by job_ids[p]) as job_ids,
            array_agg(errors[p] order by job_ids[p]) as errors,
            array_agg(retries[p] order by job_ids[p]) as retries,
            array_agg(retry_ins[p] order by job_ids[p]) as retry_ins
        from unnest(v_held) p
    ) h
    cross join lateral jobs_apply_failures(h.job_ids, h.errors, h.retries, h.retry_ins) f;
end
$$;

comment on function jobs_fail_many is
    'fails what this worker still holds in these attempts, and returns those ids';
