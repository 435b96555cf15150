-- Of the pending jobs of a group the first 1,000 are looked at for one that waits for its retry.
create or replace function _jobs_told_group(settings jobs_queues, group_key text) returns text
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
select coalesce(
    case when settings.in_order then (
        select format('waits for the retry of job %s', j.id)
        from (
            select j.id, j.attempt, j.run_at from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue = settings.queue
                and j.group_key = _jobs_told_group.group_key and j.status = 'pending'
            order by j.job_type, _jobs_rank(j.attempt, j.priority), j.run_at, j.id
            limit 1000
        ) j
        where j.attempt > 0 and j.run_at > clock_timestamp()
        limit 1) end,
    _jobs_told_limit(settings, _jobs_told_group.group_key))
$$;

comment on function _jobs_told_group is
    'internal: why a group lets nothing start now: the retry of a job, in order, or a limit';
