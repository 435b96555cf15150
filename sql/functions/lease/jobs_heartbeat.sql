-- Two sessions cannot both win: the fence is read under the row's lock, so a job that recovery took
-- is `lost` here, and one that is held here is not overdue there. A row that somebody has locked,
-- such as a handler whose transaction is open, is passed by, as recovery passes it by: one such job
-- must not let the leases of all others run out.
create or replace function jobs_heartbeat(
    worker text,
    job_ids bigint[],
    attempts int[],
    lease interval
) returns table (job_id bigint, state text)
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_held bigint[];
begin
    perform _jobs_check_batch(worker, job_ids, attempts, array[cardinality(job_ids)]);
    if lease is null then
        raise exception using errcode = 'JQ003', message = 'lease is missing';
    end if;
    perform _jobs_check_claim(worker, null, null, lease, null);
    v_held := _jobs_lock_fenced_many(worker, job_ids, attempts, wait => false);
    update jobs j set lease_until = clock_timestamp() + lease where j.id = any (v_held);
    return query
    select u.job_id,
        case
            when j.id is null then 'lost'
            when j.cancel_requested_at is not null then 'cancel'
            else 'held'
        end
    from unnest(job_ids, attempts) with ordinality u(job_id, attempt, place)
    -- Lateral and with a limit, so that it cannot be joined from the table's side.
    left join lateral (
        select m.id, m.cancel_requested_at
        from jobs m
        where m.id = u.job_id
            and m.worker = jobs_heartbeat.worker
            and m.attempt = u.attempt
            and m.finished_at is null
        limit 1
    ) j on true
    order by u.place;
end
$$;

comment on function jobs_heartbeat is
    'prolongs the lease; says for each job whether it is held, lost, or to be cancelled';
