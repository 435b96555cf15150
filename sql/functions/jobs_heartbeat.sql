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
    update jobs j
    set lease_until = clock_timestamp() + lease
    from (
        select l.id
        from unnest(job_ids, attempts) u(job_id, attempt)
        join jobs l on l.id = u.job_id
        where l.worker = jobs_heartbeat.worker
            and l.attempt = u.attempt
            and l.finished_at is null
        order by l.id
        for update of l skip locked
    ) mine
    where j.id = mine.id;
    return query
    select u.job_id,
        case
            when j.id is null then 'lost'
            when j.cancel_requested_at is not null then 'cancel'
            else 'held'
        end
    from unnest(job_ids, attempts) with ordinality u(job_id, attempt, place)
    left join jobs j on j.id = u.job_id
        and j.worker = jobs_heartbeat.worker
        and j.attempt = u.attempt
        and j.finished_at is null
    order by u.place;
end
$$;

comment on function jobs_heartbeat is
    'prolongs the lease; says for each job whether it is held, lost, or to be cancelled';
