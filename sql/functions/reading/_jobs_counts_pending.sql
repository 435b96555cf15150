-- The pending jobs of a queue, a priority and a type are a range of ix_jobs_claim, in the order of
-- run_at. One probe finds the next range. So the cost depends on the ranges that this visits and on
-- the jobs that it counts, whatever else waits. Both are limited, and no queue hides another one:
-- each queue may have its share of max_groups ranges, and a queue that has more is counted as a
-- whole (job_type is null). Behind max_groups queues, the others are counted as a whole (queue is
-- null). Each range is counted up to cap, until max_rows jobs were read; then, and in a queue that
-- is counted as a whole, up to 100. due_only: does not count the jobs of a range that are not due.
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
    c_min_rows constant int := least(cap, 100);
    v_now timestamptz := clock_timestamp();
    v_rows_left bigint := max_rows;
    v_limit bigint;
    v_queues int;
    v_share int;
    v_place int;
    v_ranges int;
    v_queue text;
    v_last_queue text;
    v_priority smallint;
    v_type text;
begin
    with recursive present(queue, place) as (
        (select j.queue, 1 from jobs j where j.status = 'pending' and j.group_key is null
         order by j.queue, j.priority, j.job_type, j.run_at, j.id limit 1)
        union all
        select n.queue, p.place + 1
        from present p
        cross join lateral (
            select j.queue from jobs j where j.status = 'pending' and j.group_key is null
                and j.queue > p.queue
            order by j.queue, j.priority, j.job_type, j.run_at, j.id limit 1
        ) n
        where p.place <= max_groups
    )
    select count(*), greatest(max_groups / greatest(count(*), 1), 1) into v_queues, v_share
    from present;

    for v_place, v_queue, v_priority, v_type, v_ranges in
        -- In each queue one range more than the share, to see whether there are more.
        with recursive present(place, queue, priority, job_type, range) as (
            (select 1, j.queue, j.priority, j.job_type, 1 from jobs j where j.status = 'pending' and j.group_key is null
             order by j.queue, j.priority, j.job_type, j.run_at, j.id limit 1)
            union all
            select p.place + (n.queue > p.queue)::int, n.queue, n.priority, n.job_type,
                case when n.queue > p.queue then 1 else p.range + 1 end
            from present p
            cross join lateral (
                select j.queue, j.priority, j.job_type from jobs j
                where j.status = 'pending' and j.group_key is null and (j.queue, j.priority, j.job_type)
                    > (p.queue, case when p.range > v_share then 99 else p.priority end, p.job_type)
                order by j.queue, j.priority, j.job_type, j.run_at, j.id limit 1
            ) n
            where p.place < v_queues or n.queue = p.queue and p.range <= v_share
        )
        select p.place, p.queue, p.priority, p.job_type, p.range from (
            select p.*, max(p.range) over (partition by p.place) as ranges from present p
        ) p
        where p.ranges <= v_share or p.range = p.ranges
    loop
        v_limit := greatest(least(cap, v_rows_left), c_min_rows);
        if v_ranges <= v_share and v_place <= max_groups then
            queue := v_queue;
            job_type := v_type;
            select count(*), min(c.run_at) into due, oldest
            from (
                select j.run_at from jobs j
                where j.status = 'pending' and j.group_key is null and j.queue = v_queue
                    and j.priority = v_priority and j.job_type = v_type and j.run_at <= v_now
                order by j.run_at, j.id
                limit v_limit + 1
            ) c;
            later := 0;
            retrying := 0;
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
            v_limit := c_min_rows;
            v_last_queue := v_queue;
            if v_place > max_groups then
                v_last_queue := (select j.queue from jobs j where j.status = 'pending' and j.group_key is null
                                 order by j.queue desc limit 1);
            end if;
            queue := case when v_queue = v_last_queue then v_queue end;
            job_type := null;
            -- This reads the index alone, so it does not see which jobs wait for a retry.
            select least(count(*) filter (where c.run_at <= v_now), v_limit), min(c.run_at),
                least(count(*) filter (where c.run_at > v_now), v_limit), 0, count(*) > v_limit
            into due, oldest, later, retrying, due_capped
            from (
                select j.run_at from jobs j
                where j.status = 'pending' and j.group_key is null and j.queue between v_queue and v_last_queue
                order by j.queue, j.priority, j.job_type, j.run_at, j.id
                limit v_limit + 1
            ) c;
            later_capped := due_capped;
        end if;
        v_rows_left := v_rows_left - due - later - retrying;
        return next;
    end loop;
end
$$;

comment on function _jobs_counts_pending is
    'internal: jobs_counts for the pending jobs, by queue, priority and type';
