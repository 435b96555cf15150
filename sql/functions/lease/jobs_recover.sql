create or replace function jobs_recover(worker text default null) returns setof jobs
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_job jobs;
    v_jobs bigint := 0;
begin
    for v_job in select (r.job).* from _jobs_recover(_jobs_workers_gone(), worker) r loop
        v_jobs := v_jobs + 1;
        return next v_job;
    end loop;
    if worker is not null and v_jobs > 0 then
        perform _jobs_audit_note('recover', jobs => v_jobs, filters => jsonb_build_object(
            'worker', worker));
    end if;
    if exists (select from jobs_flows f) then
        perform _jobs_flow_attach(1000);
        perform _jobs_flow_resolve(1000);
        perform _jobs_flow_tidy(100);
    end if;
    perform _jobs_history_add_alone();
end
$$;

comment on function jobs_recover is
    'takes back jobs whose lease is over or whose worker is gone, and all jobs of `worker`';
