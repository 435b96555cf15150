-- Disturbs no other session: it deletes ended jobs only, which no claim reads, and skips rows that
-- another session has locked, and those that a job which has not ended may read as its parents.
-- finished_before is for who calls this until it returns 0: jobs that end meanwhile stay.
create or replace function jobs_delete_many(
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
    finished_before timestamptz default null
) returns bigint
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_statuses constant text[] := '{completed,failed,cancelled}';
    v_condition constant text := concat_ws(' and ',
        case when finished_before is not null
            then format('j.finished_at < %L::timestamptz', finished_before) end,
        case when exists (select from jobs_flows f) then 'not _jobs_is_needed(j.id)' end,
        'true');
    v_ids bigint[];
begin
    perform _jobs_check_filters(num_nonnulls(
        job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
        batch_id, created_before, failed_since, statuses, finished_before));
    perform _jobs_check_statuses(statuses, c_statuses);
    v_ids := _jobs_lock_matching(
        coalesce(statuses, c_statuses), job_ids, job_types, queues, group_keys, reference_type,
        reference_id, reference_key, batch_id, created_before, failed_since, max_jobs, condition => v_condition);
    delete from jobs j where j.id = any (v_ids);
    perform _jobs_forget(v_ids);
    perform _jobs_audit_note(
        'delete', jobs => cardinality(v_ids), filters => _jobs_filters(
            job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
            batch_id, created_before, failed_since)
            || jsonb_build_object('statuses', statuses, 'finished_before', finished_before));
    return cardinality(v_ids);
end
$$;

comment on function jobs_delete_many is
    'deletes up to max_jobs ended jobs that pass the filters; repeat until 0';
