-- A worker reads its jobs by this one by one, if it could not read the answer of a claim: some row
-- holds what the server cannot send or the driver cannot decode.
create or replace function _jobs_claimed(worker text, job_id bigint, attempt int)
returns setof jobs
language sql stable security definer
set search_path from current
as $$
select j.* from jobs j
where j.id = job_id and j.worker = _jobs_claimed.worker and j.attempt = _jobs_claimed.attempt
    and j.status = 'processing'
$$;

comment on function _jobs_claimed is
    'internal: the job, if worker holds it in that attempt';
