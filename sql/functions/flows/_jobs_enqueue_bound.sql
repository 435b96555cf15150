-- jobs_enqueue of a job that waits for others, is a member of a batch, or is a batch's callback. A
-- function of its own, so that a plain job pays for none of this.
--
-- Two sessions with one unique_key cannot both win, as in jobs_enqueue.
create or replace function _jobs_enqueue_bound(
    job_type text,
    payload jsonb,
    queue text,
    priority int,
    run_at timestamptz,
    reference_type text,
    reference_id bigint,
    max_retries int,
    unique_key text,
    unique_scope text,
    backoff interval[],
    reference_key text,
    group_key text,
    headers jsonb,
    expires_at timestamptz,
    depends_on bigint[],
    on_parent_failed text,
    batch_id bigint,
    on_conflict text,
    unique_for interval,
    max_wait interval,
    is_batch boolean default false
) returns setof jobs
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
declare
    v_parents bigint[] := array(
        select distinct d.id from unnest(_jobs_enqueue_bound.depends_on) d(id));
    v_waits boolean := is_batch or v_parents <> '{}';
    v_job jobs;
begin
    perform _jobs_check_job(
            _jobs_enqueue_bound.job_type, _jobs_enqueue_bound.queue, _jobs_enqueue_bound.priority,
            _jobs_enqueue_bound.run_at, _jobs_enqueue_bound.reference_type,
            _jobs_enqueue_bound.max_retries, _jobs_enqueue_bound.unique_key,
            _jobs_enqueue_bound.unique_scope, _jobs_enqueue_bound.backoff,
            _jobs_enqueue_bound.reference_key, _jobs_enqueue_bound.group_key,
            _jobs_enqueue_bound.headers, _jobs_enqueue_bound.expires_at),
        _jobs_check_unique(
            _jobs_enqueue_bound.unique_key, _jobs_enqueue_bound.unique_scope,
            _jobs_enqueue_bound.on_conflict, _jobs_enqueue_bound.unique_for,
            _jobs_enqueue_bound.max_wait),
        _jobs_check_flow(
            _jobs_enqueue_bound.depends_on, _jobs_enqueue_bound.on_parent_failed,
            _jobs_enqueue_bound.on_conflict);
    if _jobs_enqueue_bound.batch_id is not null then
        perform _jobs_flow_join(array[_jobs_enqueue_bound.batch_id], v_parents);
    end if;
    for v_try in 1..100 loop
        insert into jobs as j (
            job_type, payload, queue, priority, run_at, reference_type, reference_id, max_retries,
            unique_key, unique_scope, backoff, reference_key, group_key, headers, expires_at,
            unique_until, batch_id, status, depends_on_left)
        values (
            _jobs_enqueue_bound.job_type, coalesce(_jobs_enqueue_bound.payload, '{}'),
            coalesce(_jobs_enqueue_bound.queue, 'default'),
            coalesce(_jobs_enqueue_bound.priority, 0),
            coalesce(_jobs_enqueue_bound.run_at, clock_timestamp()),
            _jobs_enqueue_bound.reference_type, _jobs_enqueue_bound.reference_id,
            coalesce(_jobs_enqueue_bound.max_retries, 3), _jobs_enqueue_bound.unique_key,
            coalesce(_jobs_enqueue_bound.unique_scope, 'live'), _jobs_enqueue_bound.backoff,
            _jobs_enqueue_bound.reference_key, _jobs_enqueue_bound.group_key,
            _jobs_enqueue_bound.headers, _jobs_enqueue_bound.expires_at,
            _jobs_after(clock_timestamp(), _jobs_enqueue_bound.unique_for),
            _jobs_enqueue_bound.batch_id, case when v_waits then 'blocked' else 'pending' end,
            case when v_waits then cardinality(v_parents) end)
        on conflict do nothing
        returning j.* into v_job;
        exit when found;
        return query
        select c.* from _jobs_on_conflict(
            _jobs_enqueue_bound.job_type, _jobs_enqueue_bound.payload, _jobs_enqueue_bound.queue,
            _jobs_enqueue_bound.priority, _jobs_enqueue_bound.run_at,
            _jobs_enqueue_bound.reference_type, _jobs_enqueue_bound.reference_id,
            _jobs_enqueue_bound.max_retries, _jobs_enqueue_bound.unique_key,
            _jobs_enqueue_bound.backoff, _jobs_enqueue_bound.reference_key,
            _jobs_enqueue_bound.group_key, _jobs_enqueue_bound.headers,
            _jobs_enqueue_bound.expires_at, _jobs_enqueue_bound.on_conflict,
            _jobs_enqueue_bound.max_wait) c;
        if found then
            return;
        end if;
    end loop;
    if v_job.id is null then
        raise exception using errcode = 'JQ004',
            message = format('a unique index or a trigger of the table jobs that pgjobs did not make '
                'refuses the job of type %s%s', _jobs_enqueue_bound.job_type,
                format(', or its unique_key %L changed hands too often: then try again',
                       _jobs_enqueue_bound.unique_key));
    end if;
    if v_waits then
        insert into jobs_flows (job_id, on_parent_failed, is_batch, is_open, parents)
        values (
            v_job.id,
            coalesce(_jobs_enqueue_bound.on_parent_failed,
                     case when is_batch then 'run' else 'cancel' end),
            is_batch, is_batch, cardinality(v_parents));
    end if;
    insert into jobs_flow_edges (parent_id, child_id, is_attached)
    select p.id, v_job.id, false from unnest(v_parents) p(id);
    if v_job.batch_id is not null then
        insert into jobs_flow_edges (parent_id, child_id, is_attached)
        values (v_job.id, v_job.batch_id, true);
        insert into jobs_flow_changes (child_id, parents) values (v_job.batch_id, 1);
    end if;
    -- A new member alone changes nothing for its callback but the number of members.
    if v_parents <> '{}' then
        perform _jobs_flow_tell(is_end => false);
    end if;
    return next v_job;
end
$$;

comment on function _jobs_enqueue_bound is
    'internal: jobs_enqueue of a job that waits for others or belongs to a batch';
