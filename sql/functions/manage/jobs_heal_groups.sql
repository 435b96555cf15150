-- A claim reaches the jobs of a group by the group's turns alone. A turn is missing where jobs were
-- changed by hand, or were inserted while triggers were disabled. Two sessions may both insert the
-- turns of a group: one turn too many is one look too many.
create or replace function jobs_heal_groups(max_groups int default 10000) returns bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_max_groups constant int := coalesce(jobs_heal_groups.max_groups, 10000);
    v_queues text[];
    v_groups bigint;
begin
    if v_max_groups < 1 then
        raise exception using errcode = 'JQ003',
            message = format('max_groups must be 1 or more, not %s', v_max_groups);
    end if;
    -- The transaction's number before the moment of its turns: see _jobs_raise_turns_from.
    perform pg_current_xact_id();
    with missing as materialized (
        select m.queue, m.group_key, m.job_type
        from (
            select w.*, dense_rank() over (order by w.queue, w.group_key) as place
            from _jobs_groups_without_turn(2147483647) w
        ) m
        where m.place <= v_max_groups
    ), turn as (
        insert into jobs_turns (queue, group_key, job_type, turn_at)
        select m.queue, m.group_key, m.job_type, clock_timestamp() from missing m
    )
    select array_agg(distinct m.queue), count(distinct (m.queue, m.group_key))
    into v_queues, v_groups
    from missing m;
    if v_queues is not null then
        perform _jobs_flag_groups(v_queues);
        perform _jobs_signal(q.queue, '-infinity', jobs => 16) from unnest(v_queues) q(queue);
    end if;
    return v_groups;
end
$$;

comment on function jobs_heal_groups is
    'gives a turn to up to max_groups groups with pending jobs that have none; returns how many:'
    ' repeat until 0';
