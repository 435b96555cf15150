-- oldest_due: for how long the oldest due job has waited; where the count is capped, the oldest of
-- the jobs that were read. due_only: for who reads only the rows of the states due and throttled,
-- which cost half as much as all. oldest_throttled: the oldest of the due jobs where some are held
-- back.
--
-- Due is what a claim could take now. What the limits of its group or its queue hold back is
-- throttled. Where a queue has room for a part of its due jobs, the types with the oldest have it.
create or replace function _jobs_counts(cap int default 10000, due_only boolean default false)
returns table (
    queue text, job_type text, state text, jobs bigint, capped boolean, oldest_due interval,
    oldest_throttled interval
)
language plpgsql stable security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    v_cap int := coalesce(_jobs_counts.cap, 10000);
    -- What this may cost: 0.05 s. A cap above 10,000 may cost more in each respect.
    v_max_groups int := greatest(v_cap, 10000) / 20;
    v_max_rows bigint := greatest(v_cap, 10000)::bigint * 20;
    v_now timestamptz := clock_timestamp();
begin
    if v_cap < 1 then
        raise exception using errcode = 'JQ003',
            message = format('cap must be 1 or more, not %s', v_cap);
    end if;
    return query
    with counted as (
        select p.queue, p.job_type, p.due, p.due as startable, p.due_capped, p.oldest,
            p.oldest as oldest_of_all, p.later, p.retrying, p.later_capped
        from _jobs_counts_pending(v_cap, v_max_groups, v_max_rows, due_only) p
        union all
        select g.queue, g.job_type, g.due, g.startable, g.due_capped or g.is_more,
            case when g.startable > 0 then g.oldest end, g.oldest, g.later, g.retrying,
            g.later_capped or g.is_more
        from _jobs_groups(v_cap, v_max_groups, v_max_rows, due_only) g
    ), typed as (
        select c.queue, c.job_type, sum(c.due)::bigint as due,
            sum(c.startable)::bigint as startable, bool_or(c.due_capped) as due_capped,
            min(c.oldest) as oldest, min(c.oldest_of_all) as oldest_of_all,
            sum(c.later)::bigint as later,
            sum(c.retrying)::bigint as retrying, bool_or(c.later_capped) as later_capped
        from counted c
        group by 1, 2
    ), room as materialized (
        select q.queue, _jobs_queue_room_now(q, v_now) as jobs
        from jobs_queues q
        where num_nonnulls(q.max_running, q.rate_count) > 0
    ), pending as (
        select t.*, case when r.jobs is null then t.startable else greatest(least(
                t.startable, r.jobs - coalesce(sum(t.startable) over (
                    partition by t.queue order by t.oldest, t.job_type
                    rows between unbounded preceding and 1 preceding), 0)), 0) end::bigint as now
        from typed t
        left join room r on r.queue = t.queue
    )
    select p.queue, p.job_type, s.state, least(s.jobs, v_cap), s.capped or s.jobs > v_cap,
        s.oldest_due, s.oldest_throttled
    from pending p
    cross join lateral (values
        ('due', p.now, p.due_capped and p.now = p.due,
         case when p.now > 0 then v_now - p.oldest end, null::interval),
        ('throttled', p.due - p.now, p.due_capped and p.now < p.due, null,
         v_now - p.oldest_of_all),
        ('later', p.later, p.later_capped, null, null),
        ('retrying', p.retrying, p.later_capped, null, null)
    ) s(state, jobs, capped, oldest_due, oldest_throttled)
    where (s.jobs > 0 or s.capped) and (s.state in ('due', 'throttled') or not due_only)
    union all
    select o.*, null::interval, null::interval from _jobs_counts_other(v_cap, v_max_groups) o
    where not due_only;
end
$$;

comment on function _jobs_counts is
    'internal: jobs_counts, and for how long the oldest due job has waited';
