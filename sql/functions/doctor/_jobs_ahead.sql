-- Counts up to max_jobs. Without a group it goes from level to level, and in each from type to type
-- by ranges of ix_jobs_claim. In a group it looks at the first max_jobs jobs of each type, and in
-- order at all types, because then one of another type comes first too.
create or replace function _jobs_ahead(
    job jobs,
    max_jobs int,
    out jobs int,
    out higher int,
    out highest int
)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
#variable_conflict use_column
declare
    c_last_id constant bigint := 9223372036854775807;
    v_now timestamptz := clock_timestamp();
    v_rank int := _jobs_rank(job.attempt, job.priority);
    v_level int := 10;
    v_count int;
begin
    jobs := 0;
    higher := 0;
    if job.group_key is not null then
        select count(*), count(*) filter (where a.priority > job.priority), max(a.priority)
        into jobs, higher, highest
        from unnest(
            case when exists (select from jobs_queues q where q.queue = job.queue and q.in_order)
            then _jobs_group_types(job.queue, job.group_key)
            else array[job.job_type] end) t(job_type)
        cross join lateral (
            select j.priority, j.run_at from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue = job.queue
                and j.group_key = job.group_key and j.status = 'pending'
                and j.job_type = t.job_type
                and (_jobs_rank(j.attempt, j.priority), j.run_at, j.id)
                    < (v_rank, job.run_at, job.id)
            order by _jobs_rank(j.attempt, j.priority), j.run_at, j.id
            limit max_jobs
        ) a
        where a.run_at <= v_now;
        jobs := least(jobs, max_jobs);
        return;
    end if;
    loop
        v_level := _jobs_next_level(job.queue, v_level, null);
        exit when v_level is null or v_level < job.priority or jobs >= max_jobs;
        v_count := (
            select count(*)
            from (
                select
                from unnest(_jobs_types_present(job.queue, v_level, v_now)) t(job_type)
                cross join lateral (
                    select from jobs j
                    where j.status = 'pending' and j.group_key is null and j.queue = job.queue
                        and j.priority = v_level and j.job_type = t.job_type
                        and (j.run_at, j.id) < (
                            case when v_level = job.priority then job.run_at else v_now end,
                            case when v_level = job.priority then job.id else c_last_id end)
                    order by j.run_at, j.id
                    limit max_jobs
                ) a
                limit max_jobs - jobs
            ) a);
        if v_count > 0 then
            highest := coalesce(highest, v_level);
            jobs := jobs + v_count;
            higher := higher + case when v_level > job.priority then v_count else 0 end;
        end if;
    end loop;
end
$$;

comment on function _jobs_ahead is
    'internal: how many due jobs come before this one, how many by priority, and the highest';
