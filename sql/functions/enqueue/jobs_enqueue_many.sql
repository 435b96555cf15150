-- All or nothing. Where an object has a unique_key, all go one by one through jobs_enqueue, in the
-- order of the keys, so that two batches of the same keys wait for each other and never deadlock.
create or replace function jobs_enqueue_many(jobs jsonb) returns setof bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_known constant text[] := '{job_type,payload,queue,priority,run_at,reference_type,'
        'reference_id,max_retries,unique_key,unique_scope,backoff,reference_key}';
    v_ids bigint[];
    v_item record;
    v_why text;
begin
    if jsonb_typeof(jobs_enqueue_many.jobs) is distinct from 'array' then
        raise exception using errcode = 'JQ003', message = 'jobs must be an array of objects';
    end if;
    select format('jobs[%s] %s', i.place - 1, case
            when jsonb_typeof(i.item) <> 'object' then 'must be an object'
            else format('has the unknown key %I; known are %s',
                        (select min(key) from jsonb_object_keys(i.item - v_known) key), v_known)
            end)
        into v_why
        from jsonb_array_elements(jobs_enqueue_many.jobs) with ordinality i(item, place)
        where case when jsonb_typeof(i.item) = 'object' then i.item - v_known <> '{}' else true end
        limit 1;
    if v_why is not null then
        raise exception using errcode = 'JQ003', message = v_why;
    end if;

    -- The exception handler is for values that do not fit; it surrounds no `return query`.
    begin
        if jsonb_path_exists(jobs_enqueue_many.jobs, '$[*].unique_key.type() ? (@ != "null")') then
            v_ids := array_fill(null::bigint, array[jsonb_array_length(jobs_enqueue_many.jobs)]);
            for v_item in
                select i.* from _jobs_unpack(jobs_enqueue_many.jobs) i
                order by i.job_type, i.unique_key, i.place
            loop
                v_ids[v_item.place] := (
                    select e.id from jobs_enqueue(
                        v_item.job_type, v_item.payload, v_item.queue, v_item.priority,
                        v_item.run_at, v_item.reference_type, v_item.reference_id,
                        v_item.max_retries, v_item.unique_key, v_item.unique_scope,
                        v_item.backoff, v_item.reference_key) e);
            end loop;
        else
            select array_agg(a.id order by a.id) into v_ids
            from _jobs_enqueue_together(jobs_enqueue_many.jobs) a;
        end if;
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
