-- Signals the other workers of the queues: they begin to watch this worker (_jobs_worker_tick), and
-- help with the jobs that made it poll.
create or replace function _jobs_worker_poll(worker text) returns void
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_queues text[];
begin
    update jobs_workers w set polling = true where w.worker = _jobs_worker_poll.worker
    returning w.queues into v_queues;
    perform pg_advisory_unlock(_jobs_advisory_key('listening', worker));
    perform _jobs_signal(v_queues);
end
$$;

comment on function _jobs_worker_poll is
    'internal: the worker claims every few milliseconds; producers need not notify it';
