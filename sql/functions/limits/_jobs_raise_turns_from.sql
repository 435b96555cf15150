-- Two sessions do not raise it together: the second skips the locked row.
--
-- Whoever inserts a turn gets its transaction's number first, and reads the clock for turn_at then, or
-- keeps the turn_at of a turn that the same transaction deletes. So, while the clock goes on, once all transactions before
-- marked_xid have ended, each turn before marked_at is visible, or is the copy of a visible one: the
-- least of those that are visible bounds all.
create or replace function _jobs_raise_turns_from(queue text) returns void
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := clock_timestamp();
    v_snapshot pg_snapshot;
    v_next_xid bigint;
    v_row jobs_turns_from;
begin
    v_snapshot := pg_current_snapshot();
    v_next_xid := pg_snapshot_xmax(v_snapshot)::text::bigint;
    select f.* into v_row from jobs_turns_from f
    where f.queue = _jobs_raise_turns_from.queue
    for no key update skip locked;
    if not found then
        -- An insert would wait for another transaction that inserts the same row.
        if not pg_try_advisory_xact_lock(
            _jobs_advisory_key('turns from', _jobs_raise_turns_from.queue))
        then
            return;
        end if;
        insert into jobs_turns_from (queue, turns_from, marked_at, marked_xid)
        values (_jobs_raise_turns_from.queue, '0001-01-02 00:00:00+00', v_now,
                v_next_xid)
        on conflict (queue) do nothing;
    elsif v_row.marked_at > v_now then
        -- The clock was put back.
        update jobs_turns_from f
        set turns_from = '0001-01-02 00:00:00+00',
            marked_at = v_now,
            marked_xid = v_next_xid
        where f.queue = _jobs_raise_turns_from.queue;
    elsif pg_snapshot_xmin(v_snapshot)::text::bigint >= v_row.marked_xid then
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
            marked_at = v_now,
            marked_xid = v_next_xid
        where f.queue = _jobs_raise_turns_from.queue;
    end if;
end
$$;

comment on function _jobs_raise_turns_from is
    'internal: raises the moment from which claims read the turns of a queue';
