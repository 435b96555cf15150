-- Two sessions do not raise it together: the second skips the locked row. Nor does the second wait,
-- for a claim may be in a long transaction: only who holds the lock inserts the row.
--
-- Whoever inserts a turn gets its transaction's number first, and reads the clock for turn_at then,
-- or keeps the turn_at of a turn that the same transaction deletes. This transaction gets its
-- number after its begin. So while the clock goes on, each transaction that inserts a turn before
-- marked_at has a lower number than marked_xid. Once all of those have ended, each such turn is
-- visible, or is the copy of a visible one: the least of those that are visible bounds all.
--
-- The xmax of a snapshot would not do as marked_xid: it is the number after the last transaction
-- that has ended, and a transaction with that number or a higher one may run already.
create or replace function _jobs_raise_turns_from(queue text) returns void
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := clock_timestamp();
    v_marked_at constant timestamptz := now();
    v_marked_xid constant bigint := pg_current_xact_id()::text::bigint;
    v_row jobs_turns_from;
begin
    select f.* into v_row from jobs_turns_from f
    where f.queue = _jobs_raise_turns_from.queue
    for no key update skip locked;
    if not found then
        if exists (select from jobs_turns_from f where f.queue = _jobs_raise_turns_from.queue)
            or not pg_try_advisory_xact_lock(
                _jobs_advisory_key('turns', _jobs_raise_turns_from.queue))
        then
            return;
        end if;
        insert into jobs_turns_from (queue, turns_from, marked_at, marked_xid)
        values (_jobs_raise_turns_from.queue, '0001-01-02 00:00:00+00', v_marked_at,
                v_marked_xid)
        on conflict (queue) do nothing;
    elsif v_row.marked_at > v_now then
        -- The clock was put back.
        update jobs_turns_from f
        set turns_from = '0001-01-02 00:00:00+00',
            marked_at = v_marked_at,
            marked_xid = v_marked_xid
        where f.queue = _jobs_raise_turns_from.queue;
    elsif pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= v_row.marked_xid then
        update jobs_turns_from f
        set turns_from = least(v_row.marked_at, (
                select min(n.turn_at)
                from unnest(_jobs_turn_types(_jobs_raise_turns_from.queue)) k(job_type)
                cross join lateral (
                    select t.turn_at from jobs_turns t
                    where t.queue = _jobs_raise_turns_from.queue and t.job_type = k.job_type
                        and t.turn_at >= v_row.turns_from
                    order by t.turn_at
                    limit 1
                ) n)),
            marked_at = v_marked_at,
            marked_xid = v_marked_xid
        where f.queue = _jobs_raise_turns_from.queue;
    end if;
end
$$;

comment on function _jobs_raise_turns_from is
    'internal: raises the moment from which claims read the turns of a queue';
