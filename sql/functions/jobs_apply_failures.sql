-- The caller has locked the rows and checked its fence.
create or replace function jobs_apply_failures(
    job_ids bigint[],
    errors text[],
    retries boolean[],
    retry_ins interval[]
) returns setof jobs
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_queues text[];
begin
    if array_position(errors, null) is not null then
        raise exception using errcode = 'JQ003', message = 'error is missing: say why it failed';
    end if;
    if not ('0' <= all (retry_ins) and '100 years' >= all (retry_ins)) then
        raise exception using errcode = 'JQ003', message = 'retry_in must be from 0 to 100 years';
    end if;
    return query
    with verdict as (
        select f.job_id, f.error,
            case
                when j.cancel_requested_at is not null then 'cancelled'
                when coalesce(f.retry, true) and j.retry_count < j.max_retries then 'pending'
                else 'failed'
            end as status,
            coalesce(f.retry_in, jobs_retry_delay(j.backoff, j.retry_count + 1)) as delay
        from unnest(job_ids, errors, retries, retry_ins) f(job_id, error, retry, retry_in)
        join jobs j on j.id = f.job_id
        order by f.job_id
    )
    update jobs j
    set status = v.status,
        error = v.error,
        retry_count = j.retry_count + (v.status = 'pending')::int,
        run_at = case v.status when 'pending' then v_now + v.delay else j.run_at end,
        worker = null,
        lease_until = null,
        cancel_requested_at = case v.status when 'pending' then null else j.cancel_requested_at end,
        updated_at = v_now,
        finished_at = case v.status when 'pending' then null else v_now end
    from verdict v
    where j.id = v.job_id
    returning j.*;
    -- Sleeping workers think that nothing is due before what they last saw.
    select array_agg(distinct j.queue) into v_queues
    from jobs j where j.id = any (job_ids) and j.status = 'pending';
    perform jobs_wake(v_queues);
end
$$;

comment on function jobs_apply_failures is
    'internal: what a failure makes of a job: pending again, failed, or cancelled if that was asked';
