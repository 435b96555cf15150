-- Whoever else sleeps on these queues is told: it begins to watch this worker (jobs_worker_tick), and
-- helps with what made it rise.
create or replace function jobs_worker_rise(worker text) returns void
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_queues text[];
begin
    update jobs_workers w set awake = true where w.worker = jobs_worker_rise.worker
    returning w.queues into v_queues;
    perform pg_advisory_unlock(jobs_lock_key('rest', worker));
    perform jobs_wake(v_queues);
end
$$;

comment on function jobs_worker_rise is
    'internal: the worker looks by itself every few milliseconds; producers need not notify it';
