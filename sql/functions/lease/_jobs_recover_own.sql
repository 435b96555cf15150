-- A worker that has got a name knows that the last holder of that name is dead. It takes back that
-- holder's jobs in parts, so that no statement takes long, until this tells of less than max_jobs.
create or replace function _jobs_recover_own(
    worker text,
    claimed_before timestamptz,
    max_jobs int
) returns jsonb
language sql volatile security definer
set search_path from current
as $$
select _jobs_recover_told('{}', worker, claimed_before, max_jobs => max_jobs)
$$;

comment on function _jobs_recover_own is
    'internal: takes back jobs that a worker of this name claimed before, and tells which';
