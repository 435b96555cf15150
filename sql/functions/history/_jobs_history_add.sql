-- Adds up what jobs_ends has noted: into jobs_history, jobs_totals and jobs_durations. A full tick of a
-- worker calls this. Where no worker lives, jobs_recover and jobs_cleanup do (_jobs_history_add_alone).
--
-- Two sessions cannot both add a row: one of them at a time has the advisory lock, and the rows are
-- deleted by the transaction that adds them. Nobody waits for the lock.
--
-- after: nothing is added up before a row is that old, so that many workers together add up as often
-- as one. Returns whether more is left: a megabyte takes about a tenth of a second.
create or replace function _jobs_history_add(
    after interval default '0',
    max_bytes int default 3000000
) returns boolean
language plpgsql volatile
set search_path from current
set enable_mergejoin = off
set jit = off
as $$
declare
    c_max_rows constant int := 20000;
    v_noted jobs_ends[];
    v_is_more boolean;
    v_is_first_of_hour boolean;
begin
    -- In another isolation a row that has changed since the snapshot would be an error.
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted')
        or not exists (select from jobs_ends e where e.noted_at <= clock_timestamp() - after)
        or not pg_try_advisory_xact_lock(_jobs_advisory_key('history', ''))
    then
        return false;
    end if;
    with locked as (
        select o.ctid as place, pg_column_size(o.ends) as bytes
        from jobs_ends o
        limit c_max_rows
        for update skip locked
    ), fitting as (
        select l.place, sum(l.bytes) over (order by l.place) - l.bytes < max_bytes as fits
        from locked l
    ), taken as (
        delete from jobs_ends e
        where e.ctid = any (array(select f.place from fitting f where f.fits))
        returning e.*
    )
    select coalesce(array_agg(t), '{}'),
        count(*) = c_max_rows or exists (select from fitting f where not f.fits)
    into v_noted, v_is_more
    from taken t;
    v_is_first_of_hour := not exists (
        select from jobs_history h
        where h.span = interval '1 minute'
            and h.starts_at >= date_trunc('hour', clock_timestamp(), 'UTC')
            -- Of a clock that was ahead.
            and h.starts_at < clock_timestamp() + interval '1 hour');
    begin
        perform _jobs_history_add_noted(v_noted);
    exception when data_exception or program_limit_exceeded or integrity_constraint_violation then
        -- A role with the rights of a worker may note anything. What can be added, counts.
        for v_place in 1..cardinality(v_noted) loop
            begin
                perform _jobs_history_add_noted(array[v_noted[v_place]]);
            exception when data_exception or program_limit_exceeded
                or integrity_constraint_violation then
                raise warning 'a row of jobs_ends cannot be added up, and is left out: %', sqlerrm;
            end;
        end loop;
    end;
    if v_is_first_of_hour then
        perform _jobs_history_tidy();
    end if;
    return v_is_more;
end
$$;

comment on function _jobs_history_add is
    'internal: adds up what jobs_ends has noted; whether more is left';
