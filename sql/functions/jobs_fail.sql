-- Two sessions cannot both win: jobs_hold locks the row, and the second one finds it changed.
create or replace function jobs_fail(
    job_id bigint,
    error text,
    retry boolean default true,
    retry_in interval default null,
    worker text default null,
    attempt int default null
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
as $$
begin
    perform jobs_hold(job_id, worker, attempt);
    return query
    select f.* from jobs_apply_failures(array[job_id], array[error], array[retry], array[retry_in]) f;
end
$$;

comment on function jobs_fail is
    'processing -> pending, to be retried later, or failed when no retry is left or wanted';
