-- The pending jobs of a queue, a priority and a type are a range of ix_jobs_claim, in the order of
-- run_at. One probe finds the next range. So the cost depends on the ranges that this visits and on
-- the jobs that it counts, whatever else waits. Both are limited, and no queue hides another one:
-- each queue may have its share of max_groups ranges, and a queue that has more is counted as a
-- whole (job_type is null). Behind max_groups queues, the others are counted as a whole (queue is
-- null). Each range is counted up to cap, until max_rows jobs were read; then, and in a queue that
-- is counted as a whole, up to 100, or 20 for due_only. due_only does not count the jobs of a range
-- that are not due.
create or replace function _jobs_counts_pending(
    cap int, max_groups int, max_rows bigint, due_only boolean
) returns table (
    queue text, job_type text, due bigint, due_capped boolean, oldest timestamptz,
    later bigint, retrying bigint, later_capped boolean
)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $$
#variable_conflict use_column
declare
    -- Who asks only what is due looks for what is stuck, not for exact numbers.
    c_min_rows constant int := least(cap, case when due_only then 20 else 100 end);
    v_now timestamptz := clock_timestamp();
    v_rows_left bigint := max_rows;
    v_limit bigint;
    v_queue text;
    v_last_queue text;
    v_priority smallint;
    v_type text;
begin
    -- last_queue is null for a range that is counted below.
    for v_queue, v_priority, v_type, v_last_queue, due, oldest, later, due_capped in
        with recursive queues(place, queue, priority, job_type) as (
            (select 1, j.queue, j.priority, j.job_type from jobs j
             where j.status = 'pending' and j.group_key is null
             order by j.queue, j.priority, j.job_type, j.run_at, j.id limit 1)
            union all
            select q.place + 1, n.queue, n.priority, n.job_type
            from queues q
            cross join lateral (
                select j.queue, j.priority, j.job_type from jobs j
                where j.status = 'pending' and j.group_key is null and j.queue > q.queue
                order by j.queue, j.priority, j.job_type, j.run_at, j.id limit 1
            ) n
            where q.place <= max_groups
        ), share as materialized (
            select greatest(max_groups / greatest(count(*), 1), 1) as ranges from queues
        ), present(place, queue, priority, job_type, range) as (
            select q.*, 1 from queues q
            union all
            -- In each queue one range more than the share, to see whether there are more.
            select p.place, p.queue, n.priority, n.job_type, p.range + 1
            from present p
            cross join share s
            cross join lateral (
                select j.priority, j.job_type from jobs j
                where j.status = 'pending' and j.group_key is null and j.queue = p.queue
                    and (j.priority, j.job_type) > (p.priority, p.job_type)
                order by j.queue, j.priority, j.job_type, j.run_at, j.id limit 1
            ) n
            where p.range <= s.ranges
        ), found as (
            select p.*, max(p.range) over (partition by p.place) > s.ranges as is_whole
            from present p
            cross join share s
        ), counted as (
            select f.*, case
                when f.place > max_groups
                    then (select j.queue from jobs j
                          where j.status = 'pending' and j.group_key is null
                          order by j.queue desc limit 1)
                when f.is_whole then f.queue end as last_queue
            from found f
            where f.range = 1 or not f.is_whole
        )
        select c.queue, c.priority, c.job_type, c.last_queue, w.*
        from counted c
        cross join lateral (
            -- This reads the index alone, so it does not see which jobs wait for a retry.
            select least(count(*) filter (where r.run_at <= v_now), c_min_rows), min(r.run_at),
                least(count(*) filter (where r.run_at > v_now), c_min_rows),
                count(*) > c_min_rows
            from (
                select j.run_at from jobs j
                where j.status = 'pending' and j.group_key is null
                    and j.queue between c.queue and c.last_queue
                order by j.queue, j.priority, j.job_type, j.run_at, j.id
                limit c_min_rows + 1
            ) r
        ) w
        order by c.place, c.range
    loop
        retrying := 0;
        if v_last_queue is null then
            queue := v_queue;
            job_type := v_type;
            v_limit := greatest(least(cap, v_rows_left), c_min_rows);
            select count(*), min(c.run_at) into due, oldest
            from (
                select j.run_at from jobs j
                where j.status = 'pending' and j.group_key is null and j.queue = v_queue
                    and j.priority = v_priority and j.job_type = v_type and j.run_at <= v_now
                order by j.run_at, j.id
                limit v_limit + 1
            ) c;
            later := 0;
            if not due_only then
                select count(*), count(*) filter (where c.retry_count > 0 or c.crash_count > 0)
                into later, retrying
                from (
                    select j.retry_count, j.crash_count from jobs j
                    where j.status = 'pending' and j.group_key is null and j.queue = v_queue
                        and j.priority = v_priority and j.job_type = v_type and j.run_at > v_now
                    order by j.run_at, j.id
                    limit v_limit + 1
                ) c;
            end if;
            due_capped := due > v_limit;
            later_capped := later > v_limit;
            later := later - retrying;
        else
            queue := case when v_queue = v_last_queue then v_queue end;
            job_type := null;
            later_capped := due_capped;
        end if;
        v_rows_left := v_rows_left - due - later - retrying;
        return next;
    end loop;
end
$$;

comment on function _jobs_counts_pending is
    'internal: jobs_counts for the pending jobs, by queue, priority and type';
