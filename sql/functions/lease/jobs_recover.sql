create or replace function jobs_recover(worker text default null) returns setof jobs
language plpgsql volatile security definer
set search_path from current
as $$
begin
    return query select (r.job).* from _jobs_recover(_jobs_workers_gone(), worker) r;
    if exists (select from jobs_flows f) then
        perform _jobs_flow_attach(1000);
        perform _jobs_flow_resolve(1000);
        perform _jobs_flow_tidy(100);
    end if;
    perform _jobs_history_add();
end
$$;

comment on function jobs_recover is
    'takes back jobs whose lease is over or whose worker is gone, and all jobs of `worker`';
