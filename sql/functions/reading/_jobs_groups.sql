-- Each live group is one probe of ix_jobs_group, and so is each type and rank of its pending jobs.
-- Both are bounded, and no queue hides another one: each queue may have its share of max_groups
-- groups. is_more: the queue has more groups, or this group has more types and ranks, than were
-- read. Each range is counted up to its share of max_rows, and at most up to cap.
--
-- startable: how many of the due jobs a claim could take now, as _jobs_claim_groups decides it.
-- Where the room of a group is for a part of its jobs, those have it that come first.
create or replace function _jobs_groups(
    cap int, max_groups int, max_rows bigint, due_only boolean
) returns table (
    queue text, group_key text, job_type text, due bigint, startable bigint, due_capped boolean,
    oldest timestamptz, later bigint, retrying bigint, later_capped boolean,
    held_until timestamptz, is_more boolean
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
    c_max_levels constant int := 100;
    v_now timestamptz := clock_timestamp();
begin
    if not exists (select from jobs j where j.group_key is not null and j.finished_at is null) then
        return;
    end if;
    return query
    with recursive queues(place, queue) as (
        (select 1, j.queue from jobs j
         where j.group_key is not null and j.finished_at is null
         order by j.queue, j.group_key, j.status limit 1)
        union all
        select q.place + 1, n.queue
        from queues q
        cross join lateral (
            select j.queue from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue > q.queue
            order by j.queue, j.group_key, j.status limit 1
        ) n
        where q.place < max_groups
    ), share as materialized (
        select greatest(max_groups / count(*), 1) as groups from queues
    ), walked(queue, group_key, place) as (
        select q.queue, n.group_key, 1
        from queues q
        cross join lateral (
            select j.group_key from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue = q.queue
            order by j.queue, j.group_key, j.status limit 1
        ) n
        union all
        -- In each queue one group more than the share, to see whether there are more.
        select w.queue, n.group_key, w.place + 1
        from walked w
        cross join share s
        cross join lateral (
            select j.group_key from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue = w.queue
                and j.group_key > w.group_key
            order by j.queue, j.group_key, j.status limit 1
        ) n
        where w.place <= s.groups
    ), groups as materialized (
        select w.*, max(w.place) over (partition by w.queue) > s.groups as is_more, s.groups
        from walked w
        cross join share s
    ), level(queue, group_key, is_more, place, job_type, rank) as (
        select g.queue, g.group_key, g.is_more, 1, n.job_type, n.rank
        from groups g
        cross join lateral (
            select j.job_type, _jobs_rank(j.attempt, j.priority) as rank from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue = g.queue
                and j.group_key = g.group_key and j.status = 'pending'
            order by j.queue, j.group_key, j.status, j.job_type,
                _jobs_rank(j.attempt, j.priority), j.run_at, j.id limit 1
        ) n
        where g.place <= g.groups
        union all
        select l.queue, l.group_key, l.is_more or l.place = c_max_levels, l.place + 1, n.job_type,
            n.rank
        from level l
        cross join lateral (
            select j.job_type, _jobs_rank(j.attempt, j.priority) as rank from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue = l.queue
                and j.group_key = l.group_key and j.status = 'pending'
                and (j.job_type, _jobs_rank(j.attempt, j.priority)) > (l.job_type, l.rank)
            order by j.queue, j.group_key, j.status, j.job_type,
                _jobs_rank(j.attempt, j.priority), j.run_at, j.id limit 1
        ) n
        where l.place <= c_max_levels
    ), limits as materialized (
        select greatest(least(cap, max_rows / greatest(count(*), 1)), 20) as rows from level
    ), counted as (
        select l.queue, l.group_key, l.job_type, min(l.rank) as rank, sum(d.jobs)::bigint as due,
            bool_or(d.jobs > m.rows) as due_capped, min(d.oldest) as oldest,
            sum(f.jobs - f.retrying)::bigint as later, sum(f.retrying)::bigint as retrying,
            bool_or(f.jobs > m.rows) as later_capped,
            min(f.first) filter (where l.rank < 10) as held_until, bool_or(l.is_more) as is_more
        from level l
        cross join limits m
        cross join lateral (
            select count(*) as jobs, min(r.run_at) as oldest
            from (
                select j.run_at from jobs j
                where j.group_key is not null and j.finished_at is null and j.queue = l.queue
                    and j.group_key = l.group_key and j.status = 'pending'
                    and j.job_type = l.job_type
                    and _jobs_rank(j.attempt, j.priority) = l.rank and j.run_at <= v_now
                order by j.queue, j.group_key, j.status, j.job_type,
                    _jobs_rank(j.attempt, j.priority), j.run_at, j.id
                limit m.rows + 1
            ) r
        ) d
        cross join lateral (
            select count(*) as jobs, min(r.run_at) as first,
                count(*) filter (where r.retry_count > 0 or r.crash_count > 0) as retrying
            from (
                select j.run_at, j.retry_count, j.crash_count from jobs j
                where j.group_key is not null and j.finished_at is null and j.queue = l.queue
                    and j.group_key = l.group_key and j.status = 'pending'
                    and j.job_type = l.job_type
                    and _jobs_rank(j.attempt, j.priority) = l.rank and j.run_at > v_now
                order by j.queue, j.group_key, j.status, j.job_type,
                    _jobs_rank(j.attempt, j.priority), j.run_at, j.id
                limit case when due_only then 1 else m.rows + 1 end
            ) r
        ) f
        group by 1, 2, 3
    ), limited as (
        select c.*, case when q.in_order
                then min(c.held_until) over (partition by c.queue, c.group_key) end as group_held_until,
            coalesce(sum(c.due) over (
                partition by c.queue, c.group_key order by c.rank, c.oldest, c.job_type
                rows between unbounded preceding and 1 preceding), 0) as due_before,
            case when q.max_running_per_group is not null then q.max_running_per_group - (
                select count(*) from (
                    select from jobs r
                    where r.queue = c.queue and r.group_key = c.group_key
                        and r.status = 'processing' and r.finished_at is null
                    limit q.max_running_per_group) r) end as places,
            case when q.group_rate_count is not null then coalesce(
                (select _jobs_starts_room(s.moments, s.counts, q.group_rate_count,
                                          q.group_rate_period, v_now)
                 from jobs_starts s where s.queue = c.queue and s.group_key = c.group_key),
                q.group_rate_count) end as starts
        from counted c
        left join jobs_queues q on q.queue = c.queue
    )
    select l.queue, l.group_key::text, l.job_type, l.due, case when l.group_held_until is not null then 0
            else greatest(least(l.due, least(l.places, l.starts) - l.due_before), 0) end::bigint,
        l.due_capped, l.oldest, l.later, l.retrying, l.later_capped, l.group_held_until, l.is_more
    from limited l;
end
$$;

comment on function _jobs_groups is
    'internal: the pending jobs of each group by type, and how many of them a claim could take now';
