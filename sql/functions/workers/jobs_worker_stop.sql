create or replace function jobs_worker_stop(worker text) returns void
language sql volatile security definer
set search_path from current
begin atomic
    delete from jobs_worker_ticks t where t.worker = jobs_worker_stop.worker;
    delete from jobs_workers w where w.worker = jobs_worker_stop.worker;
end;

comment on function jobs_worker_stop is
    'takes a worker off the register; its name is free when its LISTEN connection closes';
