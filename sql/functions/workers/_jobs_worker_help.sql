-- A worker calls this when a claim has filled all its slots, so that due jobs may be left, and when
-- it is full. Without a listening worker there is nobody to help, and no job is looked for.
create or replace function _jobs_worker_help(worker text, floors jsonb) returns void
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_me jobs_workers;
    v_queue text;
    v_due timestamptz;
begin
    select w.* into v_me from jobs_workers w where w.worker = _jobs_worker_help.worker;
    for v_queue in
        select q.queue
        from (select distinct unnest(v_me.queues)) q(queue)
        where exists (
            select from jobs_workers w
            where w.worker <> v_me.worker and q.queue = any (w.queues)
                and (w.job_types is null or v_me.job_types is null
                     or w.job_types && v_me.job_types)
                and _jobs_is_locked(w.listening_key))
    loop
        v_due := _jobs_next_due(
            array[v_queue], v_me.job_types, floors, before => clock_timestamp());
        if v_due is not null then
            perform _jobs_signal(v_queue, v_due, jobs => 2, job_types => v_me.job_types);
        end if;
    end loop;
end
$$;

comment on function _jobs_worker_help is
    'internal: signals listening workers if due jobs are left that this worker has no slots for';
