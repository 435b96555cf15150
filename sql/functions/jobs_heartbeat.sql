-- Two sessions cannot both win: rows are locked in id order and the fence is read under the lock, so
-- a job that recovery took is `lost` here, and one that is held here is not overdue there.
create or replace function jobs_heartbeat(
    worker text,
    job_ids bigint[],
    attempts int[],
    lease interval
) returns table (job_id bigint, state text)
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
begin
    perform jobs_check_batch(worker, job_ids, attempts, array[cardinality(job_ids)]);
    if lease is null then
        raise exception using errcode = 'JQ003', message = 'lease is missing';
    end if;
    perform jobs_check_claim(worker, null, null, lease, null);
    return query
    with held as (
        update jobs j
        set lease_until = clock_timestamp() + lease
        from (
            select u.job_id, u.attempt from unnest(job_ids, attempts) u(job_id, attempt)
            order by u.job_id
        ) mine
        where j.id = mine.job_id
            and j.worker = jobs_heartbeat.worker
            and j.attempt = mine.attempt
            and j.finished_at is null
        returning j.id, j.attempt, j.cancel_requested_at
    )
    select u.job_id,
        case
            when h.id is null then 'lost'
            when h.cancel_requested_at is not null then 'cancel'
            else 'held'
        end
    from unnest(job_ids, attempts) with ordinality u(job_id, attempt, place)
    left join held h on h.id = u.job_id and h.attempt = u.attempt
    order by u.place;
end
$$;

comment on function jobs_heartbeat is
    'prolongs the lease; says for each job whether it is held, lost, or to be cancelled';
