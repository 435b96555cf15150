create or replace function jobs_fail_many(
    worker text,
    job_ids bigint[],
    attempts int[],
    errors text[],
    retries boolean[],
    retry_ins interval[],
    error_kinds text[] default null
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_ids constant bigint[] := array(
        select e.id
        from _jobs_end_attempts(worker, job_ids, attempts, errors, retries, retry_ins,
                                error_kinds => error_kinds) e);
begin
    perform _jobs_count_ends(v_ids);
    return query select i from unnest(v_ids) i;
end
$$;

comment on function jobs_fail_many is
    'fails the jobs that worker holds in these attempts, and returns their ids';
