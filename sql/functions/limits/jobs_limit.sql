-- Two sessions cannot both win: the second waits for the queue's row, then overwrites the first.
--
-- Jobs that run go on, also where the new limit is lower: none starts until enough have ended.
create or replace function jobs_limit(
    queue text,
    max_running int default null,
    max_running_per_group int default null,
    rate_count int default null,
    rate_period interval default null,
    group_rate_count int default null,
    group_rate_period interval default null,
    in_order boolean default false
) returns setof jobs_queues
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    v_per_group constant int := coalesce(jobs_limit.max_running_per_group,
                                         case when jobs_limit.in_order then 1 end);
begin
    perform _jobs_check_queue(jobs_limit.queue);
    perform _jobs_check_limits(jobs_limit.max_running, v_per_group,
                               jobs_limit.rate_count, jobs_limit.rate_period,
                               jobs_limit.group_rate_count, jobs_limit.group_rate_period);
    return query
    insert into jobs_queues as q (queue, max_running, max_running_per_group, rate_count, rate_period,
                                  group_rate_count, group_rate_period, in_order)
    values (jobs_limit.queue, jobs_limit.max_running, v_per_group,
            jobs_limit.rate_count, jobs_limit.rate_period,
            jobs_limit.group_rate_count, jobs_limit.group_rate_period,
            coalesce(jobs_limit.in_order, false))
    on conflict (queue) do update
    set max_running = excluded.max_running,
        max_running_per_group = excluded.max_running_per_group,
        rate_count = excluded.rate_count,
        rate_period = excluded.rate_period,
        group_rate_count = excluded.group_rate_count,
        group_rate_period = excluded.group_rate_period,
        in_order = excluded.in_order
    returning q.*;
    -- What the old limits have put off is looked at by the new ones.
    insert into jobs_turns (queue, group_key, job_type, turn_at)
    select t.queue, t.group_key, t.job_type, clock_timestamp()
    from jobs_turns t
    where t.queue = jobs_limit.queue and t.turn_at > clock_timestamp()
    group by t.queue, t.group_key, t.job_type;
    perform _jobs_signal(jobs_limit.queue, '-infinity', jobs => 16);
    perform _jobs_audit_note('limit', filters => jsonb_build_object(
        'queue', jobs_limit.queue,
        'max_running', jobs_limit.max_running,
        'max_running_per_group', v_per_group,
        'rate_count', jobs_limit.rate_count,
        'rate_period', jobs_limit.rate_period,
        'group_rate_count', jobs_limit.group_rate_count,
        'group_rate_period', jobs_limit.group_rate_period,
        'in_order', nullif(jobs_limit.in_order, false)));
end
$$;

comment on function jobs_limit is
    'sets how many jobs of a queue, and of each of its groups, may run at once or start in a period';
