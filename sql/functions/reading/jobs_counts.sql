create or replace function jobs_counts(cap int default 10000)
returns table (queue text, job_type text, state text, jobs bigint, capped boolean)
language sql stable security definer
set search_path from current
as $$
select c.queue, c.job_type, c.state, c.jobs, c.capped from _jobs_counts(cap) c
$$;

comment on function jobs_counts is
    'per queue, type and state: how many jobs; capped: there are more, or may be';
