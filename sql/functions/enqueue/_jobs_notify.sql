-- Runs after every statement that inserts into jobs: COPY, plain INSERT, jobs_enqueue.
--
-- A commit with NOTIFY holds one lock of the whole cluster until it is on disk, so such commits
-- follow one after the other. So this trigger is silent while a worker polls the queue and serves
-- all the types (docs/decisions/0004-notify-gate.md has the proof that no job waits unseen). Before
-- that the producer takes the queue's gate as a shared lock until after its commit: workers go on
-- looking by themselves while somebody holds it. Silent jobs are due, and not for longer than
-- 0.2 s, because polling workers look no further back. No transaction is silent where it could be
-- prepared: PREPARE TRANSACTION fails after NOTIFY, and shall not fail only now and then. The
-- trigger calls no function per row, because the trigger is most of the cost of a small enqueue.
create or replace function _jobs_notify() returns trigger
language plpgsql volatile security definer
set search_path from current
as $$
begin
    perform _jobs_signal(n.queue, n.run_at, n.levels, n.jobs, n.job_types)
    from (
        select a.queue, min(a.run_at) as run_at, bit_or(1 << a.priority + 9) as levels,
            count(*) as jobs, array_agg(a.job_type) as job_types
        from added a
        where a.status = 'pending'
        group by a.queue
        -- The turns of groups first, whether a signal follows or not.
        having case when count(a.group_key) > 0 then not _jobs_insert_turns(
                array_agg(a.id) filter (where a.group_key is not null)) end
            or max(a.run_at) > clock_timestamp()
            or min(a.run_at) < clock_timestamp() - interval '0.2 seconds'
            -- First by the queue's two places (_jobs_worker_mode): there may be many workers.
            or not (_jobs_is_locked(hashtextextended('polling 1 ' || a.queue, tg_relid::bigint))
                or _jobs_is_locked(hashtextextended('polling 2 ' || a.queue, tg_relid::bigint)))
            or not exists (
                select from jobs_workers w
                where case
                    when a.queue = any (w.queues)
                        and (w.job_types is null or array_agg(a.job_type) <@ w.job_types)
                        and current_setting('max_prepared_transactions') = '0'
                        and pg_try_advisory_xact_lock_shared(
                            hashtextextended('gate ' || a.queue, tg_relid::bigint))
                    -- After the gate: a worker that has stopped polling before has seen no gate.
                    then _jobs_is_locked(w.polling_key)
                    else false
                end)
    ) n;
    return null;
end
$$;

comment on function _jobs_notify is
    'trigger: signals per queue and statement, unless a worker polls the queue';

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
