-- All or nothing. The insert and its order are in _jobs_enqueue_together.
create or replace function jobs_enqueue_many(jobs jsonb) returns setof bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_plain constant text[] := '{job_type,payload,queue,priority,run_at,reference_type,'
        'reference_id,max_retries,backoff,reference_key}';
    v_known constant text[] := v_plain || '{unique_key,unique_scope,group_key,headers,expires_at,'
        'on_conflict,unique_for,max_wait,depends_on,on_parent_failed,batch_id,ref}';
    v_is_plain boolean;
    v_ids bigint[];
    v_item record;
    v_why text;
    v_constraint text;
begin
    if jsonb_typeof(jobs_enqueue_many.jobs) is distinct from 'array' then
        raise exception using errcode = 'JQ003', message = 'jobs must be an array of objects';
    end if;
    v_is_plain := not exists (
        select from jsonb_array_elements(jobs_enqueue_many.jobs) i(item)
        where case when jsonb_typeof(i.item) = 'object' then i.item - v_plain <> '{}' else true end);
    if not v_is_plain then
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
    end if;

    -- For values that do not fit. Rows of a `return query` here would survive the error.
    begin
        v_ids := array(
            select a.id from _jobs_enqueue_together(jobs_enqueue_many.jobs, v_is_plain) a);
    exception
        when sqlstate 'JQ003' or data_exception or integrity_constraint_violation
            or feature_not_supported or program_limit_exceeded
        then
            get stacked diagnostics v_why = message_text, v_constraint = constraint_name;
            if v_constraint = 'jobs_id_is_the_key' then
                perform _jobs_check_ids();
                -- The sequence is behind no more: it has used up the id that was taken.
                return query
                select a.id from _jobs_enqueue_together(jobs_enqueue_many.jobs, v_is_plain) a;
                return;
            end if;
            v_why := case when v_why like 'jobs[%' then '' else 'jobs: ' end || v_why;
            -- Which object is wrong? The checks need no insert, so they wait for no other session.
            for v_item in
                select i.item, i.place - 1 as place
                from jsonb_array_elements(jobs_enqueue_many.jobs) with ordinality i(item, place)
            loop
                begin
                    perform _jobs_check_job(
                        i.job_type, i.queue, i.priority, i.run_at, i.reference_type, i.max_retries,
                        i.unique_key, i.unique_scope, i.backoff, i.reference_key, i.group_key,
                        i.headers, i.expires_at),
                        _jobs_check_unique(i.unique_key, i.unique_scope, i.on_conflict,
                            i.unique_for, i.max_wait),
                        (select _jobs_check_flow(f.depends_on, f.on_parent_failed, i.on_conflict)
                         from _jobs_unpack_flow(jsonb_build_array(v_item.item)) f)
                    from _jobs_unpack(jsonb_build_array(v_item.item), false) i;
                exception
                    when sqlstate 'JQ003' or data_exception or feature_not_supported
                        or program_limit_exceeded
                    then
                        v_why := format('jobs[%s]: %s', v_item.place, sqlerrm);
                        exit;
                end;
            end loop;
            raise exception using errcode = 'JQ003', message = v_why;
    end;
    return query select unnest(v_ids);
end
$$;

comment on function jobs_enqueue_many is
    'adds the jobs of a JSON array of objects, whose keys are the arguments of jobs_enqueue';
