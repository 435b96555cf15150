-- Two sessions cannot both win: _jobs_lock_matching locks the rows and skips locked ones. This
-- function may wait for a session that takes the same key. All who take several keys take them in the order of type
-- and key, so that they never deadlock. failed_before is for who calls this until it returns 0: a
-- job that fails again meanwhile would be retried again and again.
create or replace function jobs_retry_many(
    job_types text[] default null,
    queues text[] default null,
    failed_since timestamptz default null,
    max_jobs int default 10000,
    job_ids bigint[] default null,
    group_keys text[] default null,
    reference_type text default null,
    reference_id bigint default null,
    reference_key text default null,
    batch_id bigint default null,
    created_before timestamptz default null,
    failed_before timestamptz default null
) returns bigint
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_keyless bigint[];
    v_keyed bigint[];
    v_ids bigint[];
begin
    -- Jobs whose key another job holds are left out, and do not use up max_jobs.
    v_ids := _jobs_lock_matching(
        '{failed}', job_ids, job_types, queues, group_keys, reference_type, reference_id,
        reference_key, batch_id, created_before, failed_since, max_jobs,
        condition => format('(%1$L::timestamptz is null or j.finished_at < %1$L) and ', failed_before)
            || $condition$
            (j.unique_key is null or j.unique_scope in ('kept', 'period') or not exists (
                select from jobs o
                where o.job_type = j.job_type and o.unique_key = j.unique_key and o.id <> j.id
                    and (case when o.unique_scope <> 'pending' or o.status in ('pending', 'blocked')
                         then 0 else o.id end) = 0
                    and (o.unique_scope <> 'live' or o.finished_at is null)))$condition$);
    with found as materialized (
        select j.id, j.job_type, j.unique_key from jobs j where j.id = any (v_ids)
    ), keyed as (
        select distinct on (f.job_type, f.unique_key) f.job_type, f.unique_key, f.id
        from found f
        where f.unique_key is not null
        order by f.job_type, f.unique_key, f.id
    )
    select array(select f.id from found f where f.unique_key is null order by f.id),
        array(select k.id from keyed k order by k.job_type, k.unique_key)
    into v_keyless, v_keyed;
    perform from _jobs_make_pending(v_keyless);
    v_ids := v_keyless || _jobs_retry_keyed(v_keyed);
    perform _jobs_signal_jobs(v_ids);
    perform _jobs_audit_note(
        'retry', jobs => cardinality(v_ids), filters => _jobs_filters(
            job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
            batch_id, created_before, failed_since)
            || jsonb_build_object('failed_before', failed_before));
    return cardinality(v_ids);
end
$$;

comment on function jobs_retry_many is
    'failed jobs whose unique_key is free -> pending now; returns how many';
