-- Sets limits as the code of an app declares them, by the verdicts of _jobs_limits_diff: those that
-- are new or changed, and with is_newest the older ones too.
--
-- Two workers cannot both win: the verdict is given after the lock. They lock in the same order.
create or replace function _jobs_limits_declare(
    app text,
    limits jsonb,
    is_newest boolean default false
) returns setof text
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_item jsonb;
    v_queue text;
    v_definition jsonb;
    v_verdict text;
    v_declared jsonb;
begin
    for v_item in
        select i.item from jsonb_array_elements(limits) i(item) order by i.item ->> 'name'
    loop
        v_queue := v_item ->> 'name';
        v_definition := v_item - 'name';
        v_declared := null;
        select q.declared into v_declared from jobs_queues q where q.queue = v_queue for update;
        v_verdict := _jobs_verdict(found, v_declared, v_definition);
        continue when v_verdict = 'same' or v_verdict = 'older' and not is_newest;
        begin
            perform l.queue
            from jsonb_to_record(v_definition) d(
                max_running int, max_running_per_group int, rate_count int, rate_period interval,
                group_rate_count int, group_rate_period interval, in_order boolean)
            cross join lateral jobs_limit(
                v_queue, d.max_running, d.max_running_per_group, d.rate_count, d.rate_period,
                d.group_rate_count, d.group_rate_period, d.in_order) l;
        exception when sqlstate 'JQ003' then
            raise exception using errcode = 'JQ003',
                message = format('limits of queue %s: %s', left(v_queue, 100), sqlerrm);
        end;
        update jobs_queues q
        set declared = _jobs_declared(app, v_definition, clock_timestamp(), v_declared)
            || jsonb_build_object('made', _jobs_limits_of(q))
        where q.queue = v_queue;
        return next v_queue;
    end loop;
end
$$;

comment on function _jobs_limits_declare is
    'internal: sets limits as code declares them; returns the queues of those';
