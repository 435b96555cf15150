-- A worker that has got a name knows that the last holder of that name is dead. It takes back that
-- holder's jobs in parts, so that no statement takes long, until this returns less than max_jobs.
create or replace function _jobs_recover_own(
    worker text,
    claimed_before timestamptz,
    max_jobs int
) returns bigint
language sql volatile security definer
set search_path from current
as $$
select count(*) from _jobs_recover('{}', worker, claimed_before, max_jobs => max_jobs)
$$;

comment on function _jobs_recover_own is
    'internal: takes back jobs that a worker of this name claimed before; returns how many';
