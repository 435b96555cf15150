-- Finds jobs that silent producers have added and no polling worker has claimed, because it hangs,
-- is full, has stopped or has gone past them. While producers may be silent each worker watches
-- every 0.15 s.
--
-- seen: what the last call returned. It holds the times of that call and of the call before, and
-- the transactions that the last call saw in progress, each with a time before which it had not
-- begun to write. A silent job's run_at is at most 0.2 s older than its insertion (_jobs_notify).
-- So due jobs are looked for from the earliest such time of the transactions that have ended since
-- the last call, less 0.2 s. Without `seen` they are looked for without a bound.
--
-- A snapshot does not show a transaction in progress that is younger than all that have ended. So
-- each call takes a transaction number itself. The next call's snapshot shows all older ones in
-- progress, so one that it does not show began to write after this call, hence the two times: what
-- the last call did not see in progress began to write after the call before.
--
-- The order matters: first is read whether producers may be silent, then the transactions, then the
-- jobs. Where no producer may be silent any more, this last look finds what they have added.
create or replace function _jobs_worker_watch(
    worker text,
    floors jsonb,
    seen jsonb default null
) returns table (may_be_silent boolean, others_poll boolean, due timestamptz, seen_now jsonb)
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    c_tolerance constant interval := '0.2 seconds';
    v_me jobs_workers;
    v_now timestamptz;
    v_before_last timestamptz := coalesce((seen ->> 'before')::timestamptz, '-infinity');
    v_snapshot pg_snapshot;
    v_since timestamptz;
begin
    select w.* into v_me from jobs_workers w where w.worker = _jobs_worker_watch.worker;
    if not found then
        return;
    end if;
    select m.may_be_silent, m.others_poll into may_be_silent, others_poll
    from _jobs_may_be_silent(v_me.worker, v_me.queues) m;
    v_now := clock_timestamp();
    perform pg_current_xact_id();
    v_snapshot := pg_current_snapshot();
    select least(v_before_last, min(o.value::timestamptz)) - c_tolerance into v_since
    from jsonb_each_text(seen -> 'open') o
    where pg_visible_in_snapshot(o.key::xid8, v_snapshot);
    seen_now := jsonb_build_object(
        'at', v_now,
        'before', coalesce((seen ->> 'at')::timestamptz, '-infinity'),
        'open', coalesce((
            select jsonb_object_agg(x.xid::text, coalesce(
                (seen -> 'open' ->> x.xid::text)::timestamptz, v_before_last))
            from pg_snapshot_xip(v_snapshot) x(xid)), '{}'));
    due := _jobs_next_due(
        v_me.queues, v_me.job_types, floors, v_since, before => clock_timestamp());
    return next;
end
$$;

comment on function _jobs_worker_watch is
    'internal: whether producers may be silent, and the least run_at of due jobs that they may'
    ' have added';
