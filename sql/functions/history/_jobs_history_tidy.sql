-- The caller has the lock of _jobs_history_add, and calls this once an hour.
--
-- Adds up the minutes of an hour that began 49 h ago, deletes hours after 60 days, and lets sets of
-- labels leave that make room for others. A series that leaves never comes back with less than it had
-- but from zero, as after a restart.
create or replace function _jobs_history_tidy() returns void
language plpgsql volatile
set search_path from current
set enable_mergejoin = off
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_now constant timestamptz := clock_timestamp();
    c_max_hours constant int := 2;  -- of one call, after nobody had called for longer
    c_max_rows constant int := 20000;
    c_max_types constant int := 100;
    v_hour timestamptz;
    v_ended jobs_history[];
begin
    for v_round in 1..c_max_hours loop
        v_hour := date_trunc('hour', (
            select min(h.starts_at) from jobs_history h where h.span = interval '1 minute'), 'UTC');
        exit when v_hour is null or v_hour > v_now - interval '49 hours';
        with taken as (
            delete from jobs_history h
            where h.span = interval '1 minute' and h.starts_at < v_hour + interval '1 hour'
            returning h.*
        )
        select array_agg((interval '1 hour', v_hour, t.queue, t.job_type, t.outcome, t.jobs,
                          t.waited_s, t.waits, t.ran_s, t.runs)::jobs_history)
        into v_ended
        from taken t;
        perform _jobs_history_add_spans(array(select s from _jobs_summed(v_ended) s));
    end loop;
    delete from jobs_history h
    where h.ctid = any (array(
        select o.ctid from jobs_history o
        where o.span = interval '1 hour' and o.starts_at < v_now - interval '60 days'
        limit c_max_rows));
    delete from jobs_totals t
    where t.queue is not null and t.counted_at < v_now - interval '60 days';
    with busy as materialized (
        select h.queue, h.job_type
        from jobs_history h
        where h.span = interval '1 minute'
            and h.starts_at >= v_now - interval '1 hour' and h.queue is not null
        group by 1, 2
        order by sum(h.jobs) desc
        limit c_max_types
    )
    delete from jobs_durations d
    where (d.queue, d.job_type) in (
        select o.queue, o.job_type
        from jobs_durations o
        where o.queue is not null
            and not exists (select from busy b where (b.queue, b.job_type) = (o.queue, o.job_type))
        limit greatest(0, (select count(*) from busy b where not exists (
                               select from jobs_durations h
                               where (h.queue, h.job_type) = (b.queue, b.job_type)))
            - (c_max_types - (select count(*) from jobs_durations h where h.queue is not null))));
end
$$;

comment on function _jobs_history_tidy is
    'internal: hours instead of minutes after 48 h; deletes what is too old; frees places for the busy';
