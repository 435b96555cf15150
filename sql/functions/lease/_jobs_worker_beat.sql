-- Two sessions cannot both win: jobs_heartbeat and _jobs_release_unnamed lock the rows and read the
-- fence.
create or replace function _jobs_worker_beat(
    worker text,
    job_ids bigint[],
    attempts int[],
    lease interval,
    answer_within interval,
    registration bigint default null
) returns table (job_id bigint, state text)
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
begin
    -- The next heartbeat comes after a third of the lease.
    update jobs_worker_ticks t
    set beats_until = _jobs_after(clock_timestamp(), lease / 2),
        leases_until = _jobs_after(clock_timestamp(), lease)
    where t.worker = _jobs_worker_beat.worker;
    perform _jobs_release_unnamed(worker, job_ids, attempts, clock_timestamp() - answer_within,
                                  registration);
    return query
    select h.job_id, h.state from jobs_heartbeat(worker, job_ids, attempts, lease) h;
end
$$;

comment on function _jobs_worker_beat is
    'internal: jobs_heartbeat of all that a worker holds; what else it holds is given back';
