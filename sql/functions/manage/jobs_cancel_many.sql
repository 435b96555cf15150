-- Two sessions cannot both win: _jobs_lock_matching locks the rows, and skips locked ones. A job
-- that was asked before is not counted again, so that calls until 0 count each job once.
create or replace function jobs_cancel_many(
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
    reason text default null,
    statuses text[] default null
) returns bigint
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_statuses constant text[] := '{pending,blocked,processing}';
    -- Of all ids one notification, as long as they fit into its 8,000 bytes.
    c_ids_of_a_notification constant int := 390;
    v_ids bigint[];
    v_waiting bigint[];
    v_running bigint[];
begin
    perform _jobs_check_filters(num_nonnulls(
        job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
        batch_id, created_before, failed_since, statuses));
    perform _jobs_check_statuses(statuses, c_statuses);
    v_ids := _jobs_lock_matching(
        coalesce(statuses, c_statuses), job_ids, job_types, queues, group_keys, reference_type,
        reference_id, reference_key, batch_id, created_before, failed_since, max_jobs,
        condition => '(j.status <> ''processing'' or j.cancel_requested_at is null)');
    -- `is true`: by an index of the status a planner without statistics would read all its jobs.
    with waiting as (
        update jobs j
        set status = 'cancelled',
            error = coalesce(reason, j.error),
            worker = null,
            lease_until = null,
            updated_at = clock_timestamp(),
            finished_at = clock_timestamp()
        where j.id = any (v_ids) and (j.status in ('pending', 'blocked')) is true
        returning j.id
    )
    select array(select w.id from waiting w) into v_waiting;
    perform _jobs_count_ends(v_waiting);
    with running as (
        update jobs j
        set cancel_requested_at = clock_timestamp(),
            error = coalesce(reason, j.error),
            updated_at = clock_timestamp()
        where j.id = any (v_ids) and (j.status = 'processing') is true
        returning j.id
    )
    select array(select r.id from running r order by r.id) into v_running;
    -- Jobs that waited for their retry may have held back their groups.
    if exists (select from jobs_queues q where q.ends_free_places)
        or exists (select from jobs_watched w where w.job_id = any (v_waiting))
        or exists (select from jobs_flow_edges e where e.parent_id = any (v_waiting))
    then
        perform _jobs_free_places(v_waiting), _jobs_tell_watchers(v_waiting),
            _jobs_flow_ended(v_waiting);
    end if;
    if pg_notification_queue_usage() < 0.5 then
        perform pg_notify(jobs_channel('jobs_cancel'), string_agg(r.id::text, ',' order by r.id))
        from unnest(v_running) with ordinality r(id, place)
        group by (r.place - 1) / c_ids_of_a_notification;
    end if;
    perform _jobs_audit_note(
        'cancel', jobs => cardinality(v_ids), reason => reason, filters => _jobs_filters(
            job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
            batch_id, created_before, failed_since)
            || jsonb_build_object('statuses', statuses));
    return cardinality(v_ids);
end
$$;

comment on function jobs_cancel_many is
    'cancels up to max_jobs jobs that pass the filters, and returns how many; repeat until 0';
