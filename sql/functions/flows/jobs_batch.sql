-- A batch is a job that waits for the batch's members: its callback. The arguments are those of
-- jobs_enqueue.
create or replace function jobs_batch(
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
    on_parent_failed text default 'run',
    batch_id bigint default null,
    on_conflict text default 'return',
    unique_for interval default null,
    max_wait interval default null
) returns setof jobs
language sql volatile security definer rows 1
set search_path from current
as $$
select e.* from _jobs_enqueue_bound(
    job_type, payload, queue, priority, run_at, reference_type, reference_id, max_retries,
    unique_key, unique_scope, backoff, reference_key, group_key, headers, expires_at, depends_on,
    coalesce(on_parent_failed, 'run'), batch_id, on_conflict, unique_for, max_wait,
    is_batch => true) e
$$;

comment on function jobs_batch is
    'adds the callback of a batch, blocked, and returns it; members name its id as batch_id';
