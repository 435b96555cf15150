-- Makes and changes schedules as the code of an app declares them, by the verdicts of
-- _jobs_schedules_diff: those that are new or changed, and with is_newest the older ones too.
--
-- Two workers cannot both win: the verdict is given after the lock. They lock in the same order.
create or replace function _jobs_schedules_declare(
    app text,
    schedules jsonb,
    is_newest boolean default false
) returns setof text
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_item jsonb;
    v_name text;
    v_definition jsonb;
    v_verdict text;
    v_declared jsonb;
begin
    for v_item in
        select i.item from jsonb_array_elements(schedules) i(item) order by i.item ->> 'name'
    loop
        v_name := v_item ->> 'name';
        v_definition := v_item - 'name';
        v_declared := null;
        select s.declared into v_declared from jobs_schedules s where s.name = v_name for update;
        v_verdict := _jobs_verdict(found, v_declared, v_definition);
        continue when v_verdict = 'same' or v_verdict = 'older' and not is_newest;
        begin
            perform s.name
            from jsonb_to_record(v_item) d(
                name text, job_type text, cron text, every interval, timezone text, queue text,
                priority int, max_retries int, backoff interval[], group_key text, missed text,
                missed_within interval, overlap text, starts_at timestamptz, ends_at timestamptz)
            cross join lateral jobs_schedule(
                d.name, d.job_type, d.cron, d.every, d.timezone, v_item -> 'payload', d.queue,
                d.priority, d.max_retries, d.backoff, d.group_key, d.missed, d.missed_within,
                d.overlap, d.starts_at, d.ends_at) s;
        exception when sqlstate 'JQ003' then
            raise exception using errcode = 'JQ003',
                message = format('schedule %s: %s', left(v_name, 100), sqlerrm);
        end;
        update jobs_schedules s
        set declared = _jobs_declared(app, v_definition, s.updated_at, v_declared)
            || jsonb_build_object('made', _jobs_schedule_of(s))
        where s.name = v_name;
        return next v_name;
    end loop;
end
$$;

comment on function _jobs_schedules_declare is
    'internal: makes and changes schedules as code declares them; returns the names of those';
