-- Acts as its owner, because an observer may not read the turns. Without limits and groups this
-- reads jobs_queues and makes one probe for jobs of groups.
create or replace function _jobs_doctor_limits()
returns table (check_name text, verdict text, detail text, advice text)
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    c_max_groups constant int := 200;
    c_max_groups_without_turn constant int := 500;
    c_max_named constant int := 3;
    v_throttled text;
    v_is_stuck boolean := false;
    v_held text;
    v_is_held_long boolean := false;
    v_turnless text;
begin
    if exists (select from jobs j where j.group_key is not null and j.finished_at is null)
        or exists (select from jobs_queues q where num_nonnulls(q.max_running, q.rate_count) > 0)
    then
        with throttled as (
            select c.queue, sum(c.jobs) filter (where c.state = 'throttled') as jobs,
                bool_or(c.capped) as capped, max(c.oldest_throttled) as age
            from _jobs_counts(1000, due_only => true) c
            group by c.queue
            having sum(c.jobs) filter (where c.state = 'throttled') > 0
                and sum(c.jobs) filter (where c.state = 'due') is null
        ), named as (
            select t.*, q as settings, _jobs_told_limit(q) as told, (
                -- Of a group that is full, rather than of one that waits for its head.
                select g.group_key
                from _jobs_groups(20, c_max_groups, 20000, true) g
                where g.queue = t.queue and g.due > 0
                order by g.held_until is not null, g.oldest
                limit 1) as group_key
            from throttled t
            join jobs_queues q on q.queue = t.queue
            where q.paused_at is null or q.paused_until <= clock_timestamp()
        ), blamed as (
            select n.queue, n.jobs, n.capped, n.age, coalesce(n.told, 'group ' || n.group_key || ': '
                    || coalesce(_jobs_told_limit(n.settings, n.group_key), 'waits for its retry'),
                'its groups are held back') as told,
                _jobs_who_runs(n.queue, case when n.told is null then n.group_key end) as who
            from named n
        )
        select string_agg(format('%s (%s%s throttled; %s%s)', b.queue, b.jobs,
                                 case when b.capped then '+' else '' end, b.told,
                                 ': ' || case when b.told like '% run' then b.who end),
                          ', ' order by b.queue),
            bool_or(b.age > '1 minute' or b.told like '%is 0')
        into v_throttled, v_is_stuck
        from blamed b;

        with held as (
            select g.queue, g.group_key, g.held_until, g.due, g.oldest,
                row_number() over (order by g.held_until desc, g.queue, g.group_key) as place
            from (
                select g.queue, g.group_key, min(g.held_until) as held_until, sum(g.due) as due,
                    min(g.oldest) as oldest
                from _jobs_groups(20, c_max_groups, 20000, true) g
                where g.held_until is not null
                group by 1, 2
            ) g
            where g.due > 0
        )
        select string_agg(format('group %s of queue %s (%s wait for job %s, until its retry in %s)',
                                 h.group_key, h.queue, h.due, (
                    select j.id from jobs j
                    where j.queue = h.queue and j.group_key = h.group_key
                        and j.group_key is not null and j.finished_at is null
                        and j.status = 'pending' and j.run_at = h.held_until
                    limit 1), date_trunc('second', h.held_until - clock_timestamp())),
                    ', ' order by h.place) filter (where h.place <= c_max_named)
                || case when count(*) > c_max_named
                    then format(', and %s more', count(*) - c_max_named) else '' end,
            bool_or(h.oldest < clock_timestamp() - interval '1 minute'
                    or h.held_until > clock_timestamp() + interval '1 minute')
        into v_held, v_is_held_long
        from held h;

        with turnless as (
            select w.queue, w.group_key, row_number() over (order by w.queue, w.group_key) as place
            from _jobs_groups_without_turn(c_max_groups_without_turn) w
            group by 1, 2
        )
        select string_agg(format('%s of queue %s', t.group_key, t.queue), ', ' order by t.place)
                filter (where t.place <= c_max_named)
            || case when count(*) > c_max_named
                then format(', and %s more', count(*) - c_max_named) else '' end
        into v_turnless
        from turnless t;
    end if;
    return query values
        ('throttled queues', case when v_is_stuck then 'warn' else 'ok' end,
         coalesce(v_throttled, 'none: a claim could take a job of each queue that has due ones'),
         'their limits let nothing start: wait for an end, see what runs for long (pgjobs show ID) '
             'and cancel it if it hangs (pgjobs cancel ID), or raise the limit (pgjobs limit QUEUE)'),
        ('groups held by a retry', case when v_is_held_long then 'warn' else 'ok' end,
         coalesce(v_held, 'none'),
         'in order, the others of the group wait for the retry of this job: see its error (pgjobs '
             'show ID); to let the others start, give it up: pgjobs cancel ID'),
        ('groups without a turn', case when v_turnless is not null then 'bad' else 'ok' end,
         coalesce(v_turnless, 'none'),
         'no claim looks at them: rows were changed by hand, or triggers were disabled; '
             'select jobs_heal_groups(), until it returns 0');
end
$$;

comment on function _jobs_doctor_limits is
    'internal: the doctor''s checks of what limits hold back, and of groups that no claim looks at';
