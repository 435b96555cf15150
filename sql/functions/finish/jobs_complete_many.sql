-- Two sessions cannot both win: see _jobs_complete_uncounted.
create or replace function jobs_complete_many(
    worker text,
    job_ids bigint[],
    attempts int[],
    results jsonb[],
    keep boolean default true
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_done bigint[];
begin
    if keep is false and _jobs_is_batch(worker, job_ids, attempts, array[cardinality(results)]) then
        -- Before their rows are gone.
        perform _jobs_count_completed(_jobs_lock_fenced_many(worker, job_ids, attempts));
    end if;
    v_done := array(
        select c from _jobs_complete_uncounted(worker, job_ids, attempts, results, keep) c);
    if keep is not false then
        perform _jobs_count_completed(v_done);
    end if;
    return query select d from unnest(v_done) d;
end
$$;

comment on function jobs_complete_many is
    'completes the jobs that worker holds in these attempts, and returns their ids';
