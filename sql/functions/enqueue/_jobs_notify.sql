-- Runs after every statement that inserts into jobs: COPY, plain INSERT, jobs_enqueue.
--
-- A commit with NOTIFY holds one lock of the whole cluster until it is on disk, so such commits
-- follow one after the other. So this trigger does not notify when a polling worker is certain to
-- claim after the producer's commit (docs/decisions/0004-notify-gate.md has the proof). The
-- producer takes the worker's listening lock as a shared lock until after the commit. A worker that
-- changes to mode listening must get that lock exclusively, and then claims once more. If the
-- producer does not get the lock, the worker is listening, so the producer notifies. The name lock
-- tells a living worker from a row that a dead worker left. One expression takes and releases the
-- name lock, because a query that is cancelled between two expressions would keep the lock. The
-- trigger calls no function per row, because the trigger is most of the cost of a small enqueue.
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
    'trigger: notifies per queue and statement, unless a polling worker is certain to claim';

-- Only if it is missing: `create trigger` waits for all transactions that wrote to the table.
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
