-- Two sessions cannot both win: _jobs_lock_matching locks the rows, and skips locked ones. A job
-- that has these values already is left out, so that calls until 0 count each job once. due_after
-- is for who makes jobs due: those that are due already keep their places.
create or replace function jobs_edit_many(
    set_priority int default null,
    set_queue text default null,
    set_run_at timestamptz default null,
    job_ids bigint[] default null,
    job_types text[] default null,
    queues text[] default null,
    group_keys text[] default null,
    reference_type text default null,
    reference_id bigint default null,
    reference_key text default null,
    batch_id bigint default null,
    created_before timestamptz default null,
    failed_since timestamptz default null,
    max_jobs int default 10000,
    statuses text[] default null,
    due_after timestamptz default null
) returns bigint
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_statuses constant text[] := '{pending,blocked}';
    v_ids bigint[];
    v_in_groups bigint[];
begin
    perform _jobs_check_filters(num_nonnulls(
        job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
        batch_id, created_before, failed_since, statuses, due_after));
    perform _jobs_check_statuses(statuses, c_statuses);
    if num_nonnulls(set_priority, set_queue, set_run_at) = 0 then
        raise exception using errcode = 'JQ003',
            message = 'nothing to change is given: set_priority, set_queue or set_run_at';
    end if;
    perform _jobs_check_job(
        'any', set_queue, set_priority, set_run_at, reference_type => null, max_retries => null,
        unique_key => null, unique_scope => null, backoff => null, reference_key => null,
        group_key => null, headers => null, expires_at => null);
    v_ids := _jobs_lock_matching(
        coalesce(statuses, c_statuses), job_ids, job_types, queues, group_keys, reference_type,
        reference_id, reference_key, batch_id, created_before, failed_since, max_jobs,
        condition => format('(j.priority, j.queue, j.run_at) is distinct from ('
                                'coalesce(%L::int, j.priority), coalesce(%L, j.queue), '
                                'coalesce(%L::timestamptz, j.run_at))',
                            set_priority, set_queue, set_run_at),
        due_after => due_after);
    -- Others of their groups may have waited for these jobs: they have turns in the old queue.
    v_in_groups := array(
        select j.id from jobs j where j.id = any (v_ids) and j.group_key is not null);
    if v_in_groups <> '{}' then
        perform _jobs_free_places(v_in_groups);
    end if;
    update jobs j
    set priority = coalesce(set_priority, j.priority),
        queue = coalesce(set_queue, j.queue),
        run_at = coalesce(set_run_at, j.run_at),
        updated_at = clock_timestamp()
    where j.id = any (v_ids);
    perform _jobs_signal_jobs(v_ids);
    perform _jobs_audit_note(
        'edit', jobs => cardinality(v_ids), filters => _jobs_filters(
            job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
            batch_id, created_before, failed_since)
            || jsonb_build_object('statuses', statuses, 'due_after', due_after)
            || jsonb_build_object('fields', array_remove(array[
                case when set_priority is not null then 'priority' end,
                case when set_queue is not null then 'queue' end,
                case when set_run_at is not null then 'run_at' end], null)));
    return cardinality(v_ids);
end
$$;

comment on function jobs_edit_many is
    'changes up to max_jobs pending or blocked jobs that pass the filters; repeat until 0';
