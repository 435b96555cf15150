-- A level is a type and a rank among the pending jobs of a group: a range of ix_jobs_group in the
-- order of run_at. This goes from level to level by one index probe each, whatever the number of jobs.
create or replace function _jobs_group_levels(queue text, group_keys text[])
returns table (group_key text, job_type text, rank int, run_at timestamptz)
language sql volatile
set search_path from current
as $$
with recursive level(group_key, job_type, rank, run_at) as (
    select g.group_key, f.job_type, f.rank, f.run_at
    from unnest(group_keys) g(group_key)
    cross join lateral (
        select j.job_type, _jobs_rank(j.attempt, j.priority) as rank, j.run_at from jobs j
        where j.queue = _jobs_group_levels.queue and j.group_key = g.group_key
            and j.status = 'pending' and j.finished_at is null
        order by j.job_type, _jobs_rank(j.attempt, j.priority), j.run_at, j.id
        limit 1
    ) f
    union all
    select l.group_key, n.job_type, n.rank, n.run_at
    from level l
    cross join lateral (
        select j.job_type, _jobs_rank(j.attempt, j.priority) as rank, j.run_at from jobs j
        where j.queue = _jobs_group_levels.queue and j.group_key = l.group_key
            and j.status = 'pending' and j.finished_at is null
            and (j.job_type, _jobs_rank(j.attempt, j.priority)) > (l.job_type, l.rank)
        order by j.job_type, _jobs_rank(j.attempt, j.priority), j.run_at, j.id
        limit 1
    ) n
)
select l.group_key, l.job_type, l.rank, l.run_at from level l
$$;

comment on function _jobs_group_levels is
    'internal: the levels of the pending jobs of groups, and the least run_at of each';
