-- After every statement that inserts into jobs, whoever sent it: COPY, plain INSERT, jobs_enqueue.
create or replace function jobs_notify() returns trigger
language plpgsql volatile security definer
set search_path from current
as $$
begin
    perform jobs_wake(array_agg(q.queue))
    from (
        select a.queue from added a where a.status = 'pending' group by a.queue
        having not jobs_is_awaited(a.queue, array_agg(distinct a.job_type),
                                   max(a.run_at) <= clock_timestamp())
    ) q
    having count(*) > 0;
    return null;
end
$$;

comment on function jobs_notify is
    'trigger: one NOTIFY per queue and statement, unless an awake worker is certain to look';

create or replace trigger jobs_notify
    after insert on jobs
    referencing new table as added
    for each statement
    execute function jobs_notify();
