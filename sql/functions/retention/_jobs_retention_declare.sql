-- Makes and changes rules as the code of an app declares them, by the verdicts of
-- _jobs_retention_diff: those that are new or changed, and with is_newest the older ones too.
--
-- Two workers cannot both win: the verdict is given after the lock. They lock in the same order.
create or replace function _jobs_retention_declare(
    app text,
    retention jsonb,
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
        select i.item from jsonb_array_elements(retention) i(item) order by i.item ->> 'name'
    loop
        v_name := v_item ->> 'name';
        v_definition := v_item - 'name';
        v_declared := null;
        select r.declared into v_declared from jobs_retention r
        where r.status = v_item ->> 'status'
            and r.job_type is not distinct from v_item ->> 'job_type'
        for update;
        v_verdict := _jobs_verdict(found, v_declared, v_definition);
        continue when v_verdict = 'same' or v_verdict = 'older' and not is_newest;
        begin
            perform jobs_retain(v_item ->> 'status', (v_item ->> 'keep_for')::interval,
                                v_item ->> 'job_type');
        exception when sqlstate 'JQ003' then
            raise exception using errcode = 'JQ003',
                message = format('retention of %s: %s', left(v_name, 100), sqlerrm);
        end;
        update jobs_retention r
        set declared = _jobs_declared(app, v_definition, r.updated_at, v_declared)
            || jsonb_build_object('made', jsonb_build_object('keep_for', r.keep_for))
        where r.status = v_item ->> 'status'
            and r.job_type is not distinct from v_item ->> 'job_type';
        return next v_name;
    end loop;
end
$$;

comment on function _jobs_retention_declare is
    'internal: makes and changes rules as code declares them; returns the names of those';
