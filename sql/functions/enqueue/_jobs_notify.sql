-- After every statement that inserts into jobs, whoever sent it: COPY, plain INSERT, jobs_enqueue.
--
-- NOTIFY takes a lock that is one for the whole cluster and holds it while the commit is flushed to
-- disk: sixteen producers then commit one after the other. So it is left out when an awake worker
-- is certain to claim after this transaction's commit. docs/decisions/0004-notify-gate.md argues it:
-- the worker's rest lock, taken here as a shared one, is held until after that commit, and a worker
-- that wants to rest must get it exclusively and then claim once more; if it is refused here, that
-- worker rests: notify. Its name's lock tells a living worker from a row that a dead one left
-- behind; taken and given back in one expression, since a query that is cancelled in between would
-- keep it. One statement, no function called per row: this is most of what a small enqueue costs.
create or replace function _jobs_notify() returns trigger
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_queues text[];
begin
    v_queues := array(
        select a.queue
        from added a
        where a.status = 'pending'
        group by a.queue
        having max(a.run_at) > clock_timestamp() or not exists (
            select from jobs_workers w
            where case
                when w.polling and a.queue = any (w.queues)
                    and (w.job_types is null or array_agg(a.job_type) <@ w.job_types)
                    and pg_try_advisory_xact_lock_shared(w.listening_key)
                then not case when pg_try_advisory_lock_shared(w.name_key)
                    then pg_advisory_unlock_shared(w.name_key) else false end
                else false
            end));
    if v_queues <> '{}' then
        perform _jobs_signal(v_queues, array(select distinct a.job_type from added a));
    end if;
    return null;
end
$$;

comment on function _jobs_notify is
    'trigger: one NOTIFY per queue and statement, unless an awake worker is certain to look';

-- Asked first: making it again would wait for everybody who has written to the table and not ended.
do $trigger$
begin
    if not exists (
        select from pg_trigger t
        where t.tgrelid = 'jobs'::regclass and t.tgname = 'jobs_notify'
            and t.tgfoid = '_jobs_notify()'::regprocedure and t.tgnewtable = 'added'
            and t.tgtype = 4 -- after insert, for each statement
            and t.tgqual is null and t.tgenabled in ('O', 'A')
    ) then
        create or replace trigger jobs_notify
            after insert on jobs
            referencing new table as added
            for each statement
            execute function _jobs_notify();
    end if;
end
$trigger$;
