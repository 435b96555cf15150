-- Runs with the rights of its caller, who may read jobs_history. A few attempts say nothing, so a type
-- counts from 20 attempts on, and its wait from 10 in each third of the hour.
create or replace function _jobs_doctor_history()
returns table (check_name text, verdict text, detail text, advice text)
language plpgsql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_now constant timestamptz := clock_timestamp();
    -- Computed once, and not for each row.
    v_since constant timestamptz := v_now - interval '1 hour';
    v_last_two constant timestamptz := v_now - interval '40 minutes';
    v_last_third constant timestamptz := v_now - interval '20 minutes';
    c_min_attempts constant int := 20;
    c_min_attempts_of_a_third constant int := 10;
    c_max_named constant int := 3;
    c_long_wait_s constant int := 60;
    v_types text[];
    v_failing text;
    v_waiting text;
begin
    -- A busy hour has 60,000 rows. Where nothing failed, and nobody waited for long in the last third, no
    -- more is read: the index tells of failures, which come after completed in the order of the words.
    v_types := array(
        select h.job_type from jobs_history h
        where h.span = interval '1 minute' and h.starts_at > v_since and h.starts_at <= v_now
            and h.outcome > 'completed' and h.job_type is not null
        union
        select h.job_type from jobs_history h
        where h.span = interval '1 minute' and h.starts_at > v_last_third and h.starts_at <= v_now
            and h.outcome <> 'cancelled' and h.job_type is not null
        group by 1
        having sum(h.waited_s) >= c_long_wait_s * sum(h.jobs)::float8);
    -- age: which third of the hour, 0 the last.
    with third as materialized (
        select h.job_type,
            case when h.starts_at > v_last_third then 0 when h.starts_at > v_last_two then 1
                else 2 end as age,
            sum(h.jobs) as attempts,
            coalesce(sum(h.jobs) filter (where h.outcome <> 'completed'), 0) as bad,
            sum(h.waited_s) / nullif(sum(h.jobs), 0)::float8 as wait_s
        from jobs_history h
        where h.span = interval '1 minute'
            and h.starts_at > v_since and h.starts_at <= v_now
            and h.outcome <> 'cancelled' and h.job_type = any (v_types)
            and v_types <> '{}'
        group by 1, 2
    ), typed as (
        select t.job_type, sum(t.attempts) as attempts, sum(t.bad) as bad
        from third t
        group by 1
    ), failing as (
        select t.*, row_number() over (order by t.bad desc, t.job_type) as place
        from typed t
        where t.attempts >= c_min_attempts and t.bad > t.attempts / 4
    ), waiting as (
        select l.job_type, f.wait_s as before_s, l.wait_s as now_s,
            row_number() over (order by l.wait_s desc, l.job_type) as place
        from third l
        join third m on m.job_type = l.job_type and m.age = 1 and m.wait_s < l.wait_s
        join third f on f.job_type = l.job_type and f.age = 2 and f.wait_s < m.wait_s
        where l.age = 0 and l.wait_s >= c_long_wait_s and l.wait_s >= 2 * f.wait_s
            and least(l.attempts, m.attempts, f.attempts) >= c_min_attempts_of_a_third
    )
    select (
        select string_agg(format('%s (%s of %s attempts, %s %%)', f.job_type, f.bad, f.attempts,
                                 round(100 * f.bad / f.attempts)), ', ' order by f.place)
                filter (where f.place <= c_max_named)
            || case when count(*) > c_max_named
                then format(', and %s more types', count(*) - c_max_named) else '' end
        from failing f
    ), (
        select string_agg(format('%s (from %s to %s on average)', w.job_type,
                                 date_trunc('second', make_interval(secs => least(w.before_s, 1e9))),
                                 date_trunc('second', make_interval(secs => least(w.now_s, 1e9)))),
                          ', ' order by w.place) filter (where w.place <= c_max_named)
            || case when count(*) > c_max_named
                then format(', and %s more types', count(*) - c_max_named) else '' end
        from waiting w
    )
    into v_failing, v_waiting;

    return query values
        ('failing types', case when v_failing is not null then 'warn' else 'ok' end,
         coalesce(v_failing || ' failed in the last hour', 'none'),
         'see what they raise: pgjobs list --type TYPE --status failed, and pgjobs show ID for a job '
             'that is retried; when it is mended: pgjobs retry --failed --type TYPE; what waits for a '
             'retry comes by itself, or at once: select jobs_edit_many(job_types => array[TYPE], '
             'set_run_at => now())'),
        ('growing waits', case when v_waiting is not null then 'warn' else 'ok' end,
         coalesce(v_waiting || ' within the last hour', 'none'),
         'more jobs come than are run: start more workers for them, or raise --concurrency; pgjobs '
             'top shows whether slots are free, and pgjobs doctor whether a limit holds them back');
end
$$;

comment on function _jobs_doctor_history is
    'internal: the doctor''s checks of what has ended: how much failed, and whether waits grow';
