-- All or nothing. The insert and its order are in _jobs_enqueue_together.
create or replace function jobs_enqueue_many(jobs jsonb) returns setof bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_known constant text[] := (select p.proargnames[1:p.pronargs] from pg_proc p
                                where p.oid = 'jobs_enqueue'::regproc);
    v_ids bigint[];
    v_why text;
begin
    if jsonb_typeof(jobs_enqueue_many.jobs) is distinct from 'array' then
        raise exception using errcode = 'JQ003', message = 'jobs must be an array of objects';
    end if;
    select format('jobs[%s] %s', i.place - 1, case
            when jsonb_typeof(i.item) <> 'object' then 'must be an object'
            else format('has the unknown key %I; known: %s',
                        (select min(key) from jsonb_object_keys(i.item - v_known) key), v_known)
            end)
        into v_why
        from jsonb_array_elements(jobs_enqueue_many.jobs) with ordinality i(item, place)
        where case when jsonb_typeof(i.item) = 'object' then i.item - v_known <> '{}' else true end
        limit 1;
    if v_why is not null then
        raise exception using errcode = 'JQ003', message = v_why;
    end if;

    -- For values that do not fit. Rows of a `return query` here would survive the error.
    begin
        v_ids := array(select a.id from _jobs_enqueue_together(jobs_enqueue_many.jobs) a);
    exception
        when sqlstate 'JQ003' or data_exception or integrity_constraint_violation
            or feature_not_supported or program_limit_exceeded
        then
            get stacked diagnostics v_why = message_text;
            raise exception using errcode = 'JQ003',
                message = coalesce(_jobs_find_bad_item(jobs_enqueue_many.jobs), 'jobs: ' || v_why);
    end;
    return query select unnest(v_ids);
end
$$;

comment on function jobs_enqueue_many is
    'adds the jobs of a JSON array of objects, whose keys are the arguments of jobs_enqueue';
