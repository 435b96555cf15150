-- For jobs that have just become pending, or ended: each end is given once, because it is counted
-- for the jobs that wait for it. Reads the jobs by their ids before it looks at
-- the status, because a planner without statistics may prefer an index of pending jobs, and would
-- read all of it.
create or replace function _jobs_signal_jobs(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    if exists (select from jobs_queues q where q.ends_free_places)
        or exists (select from jobs_watched w where w.job_id = any (job_ids))
        or exists (select from jobs_flow_edges e where e.parent_id = any (job_ids))
    then
        perform _jobs_free_places(job_ids), _jobs_tell_watchers(array(
            select j.id from jobs j
            where j.id = any (job_ids) and (j.finished_at is not null) is true));
        if exists (select from jobs_flow_edges e where e.parent_id = any (job_ids)) then
            perform _jobs_flow_ended(job_ids);
        end if;
    end if;
    perform _jobs_signal(n.queue, n.run_at, n.levels, n.jobs, n.job_types),
        case when n.in_groups is not null then _jobs_insert_turns(n.in_groups) end
    from (
        with named as materialized (
            select j.id, j.queue, j.group_key, j.run_at, j.priority, j.job_type, j.status
            from jobs j
            where j.id = any (job_ids)
        )
        select j.queue, min(j.run_at) as run_at, bit_or(1 << j.priority + 9) as levels,
            count(*) as jobs, array_agg(distinct j.job_type) as job_types,
            array_agg(j.id) filter (where j.group_key is not null) as in_groups
        from named j
        where j.status = 'pending'
        group by j.queue
    ) n;
end
$$;

comment on function _jobs_signal_jobs is
    'internal: signals those of these jobs that are pending, once per queue, and gives their groups'
    ' turns';
