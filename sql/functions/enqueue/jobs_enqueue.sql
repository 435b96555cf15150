-- Two sessions with one unique_key cannot both win: the partial unique index lets one insert pass
-- and makes the other wait for that. Then the loser reads the winner's row (_jobs_on_conflict). The
-- winner's job may begin or end between those two statements, so the loser tries again.
--
-- `on conflict` names no index, so that it heeds each unique index: also the one that
-- `reindex concurrently` builds beside ix_jobs_unique_key, and the primary key, where the sequence
-- of the ids may be behind.
create or replace function jobs_enqueue(
    job_type text,
    payload jsonb default '{}',
    queue text default 'default',
    priority int default 0,
    run_at timestamptz default null,
    reference_type text default null,
    reference_id bigint default null,
    max_retries int default 3,
    unique_key text default null,
    unique_scope text default 'live',
    backoff interval[] default null,
    reference_key text default null,
    group_key text default null,
    headers jsonb default null,
    expires_at timestamptz default null,
    depends_on bigint[] default null,
    on_parent_failed text default 'cancel',
    batch_id bigint default null,
    on_conflict text default 'return',
    unique_for interval default null,
    max_wait interval default null
) returns setof jobs
language plpgsql volatile security definer rows 1
set search_path from current
as $$
#variable_conflict use_column
declare
    v_unique_until timestamptz;
begin
    if jobs_enqueue.depends_on <> '{}' or jobs_enqueue.batch_id is not null
        or jobs_enqueue.on_parent_failed <> 'cancel'
    then
        return query
        select b.* from _jobs_enqueue_bound(
            jobs_enqueue.job_type, jobs_enqueue.payload, jobs_enqueue.queue, jobs_enqueue.priority,
            jobs_enqueue.run_at, jobs_enqueue.reference_type, jobs_enqueue.reference_id,
            jobs_enqueue.max_retries, jobs_enqueue.unique_key, jobs_enqueue.unique_scope,
            jobs_enqueue.backoff, jobs_enqueue.reference_key, jobs_enqueue.group_key,
            jobs_enqueue.headers, jobs_enqueue.expires_at, jobs_enqueue.depends_on,
            jobs_enqueue.on_parent_failed, jobs_enqueue.batch_id, jobs_enqueue.on_conflict,
            jobs_enqueue.unique_for, jobs_enqueue.max_wait) b;
        return;
    end if;
    perform _jobs_check_job(
        jobs_enqueue.job_type, jobs_enqueue.queue, jobs_enqueue.priority, jobs_enqueue.run_at,
        jobs_enqueue.reference_type, jobs_enqueue.max_retries, jobs_enqueue.unique_key,
        jobs_enqueue.unique_scope, jobs_enqueue.backoff, jobs_enqueue.reference_key,
        jobs_enqueue.group_key, jobs_enqueue.headers, jobs_enqueue.expires_at);
    if jobs_enqueue.unique_key is not null or jobs_enqueue.on_conflict <> 'return'
        or jobs_enqueue.unique_for is not null or jobs_enqueue.max_wait is not null
    then
        perform _jobs_check_unique(
            jobs_enqueue.unique_key, jobs_enqueue.unique_scope, jobs_enqueue.on_conflict,
            jobs_enqueue.unique_for, jobs_enqueue.max_wait);
        v_unique_until := _jobs_after(clock_timestamp(), jobs_enqueue.unique_for);
        -- Read before the insert, so that it is not later than created_at + max_wait.
        if jobs_enqueue.max_wait is not null then
            run_at := least(coalesce(jobs_enqueue.run_at, clock_timestamp()),
                            _jobs_after(clock_timestamp(), jobs_enqueue.max_wait));
        end if;
    end if;
    for v_try in 1..100 loop
        return query
        insert into jobs as j (
            job_type, payload, queue, priority, run_at, reference_type, reference_id, max_retries,
            unique_key, unique_scope, backoff, reference_key, group_key, headers, expires_at,
            unique_until)
        values (
            jobs_enqueue.job_type, coalesce(jobs_enqueue.payload, '{}'),
            coalesce(jobs_enqueue.queue, 'default'), coalesce(jobs_enqueue.priority, 0),
            coalesce(jobs_enqueue.run_at, clock_timestamp()), jobs_enqueue.reference_type,
            jobs_enqueue.reference_id, coalesce(jobs_enqueue.max_retries, 3),
            jobs_enqueue.unique_key, coalesce(jobs_enqueue.unique_scope, 'live'),
            jobs_enqueue.backoff, jobs_enqueue.reference_key, jobs_enqueue.group_key,
            jobs_enqueue.headers, jobs_enqueue.expires_at, v_unique_until)
        on conflict do nothing
        returning j.*;
        if found then
            return;
        end if;
        return query
        select c.* from _jobs_on_conflict(
            jobs_enqueue.job_type, jobs_enqueue.payload, jobs_enqueue.queue, jobs_enqueue.priority,
            jobs_enqueue.run_at, jobs_enqueue.reference_type, jobs_enqueue.reference_id,
            jobs_enqueue.max_retries, jobs_enqueue.unique_key, jobs_enqueue.backoff,
            jobs_enqueue.reference_key, jobs_enqueue.group_key, jobs_enqueue.headers,
            jobs_enqueue.expires_at, jobs_enqueue.on_conflict, jobs_enqueue.max_wait) c;
        if found then
            return;
        end if;
    end loop;
    raise exception using errcode = 'JQ004',
        message = format('a unique index or a trigger of the table jobs that pgjobs did not make '
            'refuses the job of type %s%s', jobs_enqueue.job_type,
            format(', or its unique_key %L changed hands too often: then try again',
                   jobs_enqueue.unique_key));
end
$$;

comment on function jobs_enqueue is
    'adds a job and returns it, or returns or replaces the job of that type that holds the key';
