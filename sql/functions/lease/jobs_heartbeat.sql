-- Two sessions cannot both win: the heartbeat prolongs a lease only under the row's lock, after it
-- has read the fence. It skips a row that another session has locked, for example a handler's open
-- transaction, because waiting for that row would let all other leases run out. Recovery skips such
-- a row too. A skipped row is `held` until that session commits, but its lease stays as it was.
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
    perform _jobs_check_claim(worker, lease => lease);
    v_held := _jobs_lock_fenced_many(worker, job_ids, attempts, wait => false);
    update jobs j set lease_until = _jobs_after(clock_timestamp(), lease)
    where j.id = any (v_held);
    return query
    select u.job_id,
        case
            when j.id is null then 'lost'
            when j.cancel_requested_at is not null then 'cancel'
            else 'held'
        end
    from unnest(job_ids, attempts) with ordinality u(job_id, attempt, place)
    -- Lateral and with a limit: the planner cannot start the join from the table.
    left join lateral (
        select m.id, m.cancel_requested_at
        from jobs m
        where m.id = u.job_id
            and m.worker = jobs_heartbeat.worker
            and m.attempt = u.attempt
            and (m.finished_at is not null) is false
        limit 1
    ) j on true
    order by u.place;
end
$$;

comment on function jobs_heartbeat is
    'prolongs leases; says for each job whether it is held, lost, or to be cancelled';
