-- How attempts ended lately, by queue, or by type. A busy hour has 60,000 rows of jobs_history. So this
-- reads whole minutes, the newest first, and not many more than max_rows rows; since: where it began.
-- Cancelled jobs count in none of these. bad: failed, retried or lost. A quantile is null where none ran.
create or replace function _jobs_recent_ends(
    by_type boolean default false,
    within interval default '1 hour',
    max_rows int default 3000
) returns table (
    name text, since timestamptz, attempts bigint, bad bigint, wait_p50_s float8, wait_p95_s float8,
    run_p50_s float8, run_p95_s float8
)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_first constant timestamptz := _jobs_after(clock_timestamp(), -within);
    v_since timestamptz;
begin
    select h.starts_at + interval '1 minute' into v_since
    from jobs_history h
    where h.span = interval '1 minute' and h.starts_at >= v_first
    order by h.span desc, h.starts_at desc
    offset max_rows
    limit 1;
    v_since := coalesce(v_since, v_first);
    return query
    select s.name, v_since, s.attempts, s.bad, jobs_quantile(s.waits, 0.5),
        jobs_quantile(s.waits, 0.95), jobs_quantile(s.runs, 0.5), jobs_quantile(s.runs, 0.95)
    from (
        -- Each bucket is named, because to take the arrays apart takes ten times as long.
        select case when by_type then h.job_type else h.queue end as name,
            sum(h.jobs)::bigint as attempts,
            coalesce(sum(h.jobs) filter (where h.outcome <> 'completed'), 0)::bigint as bad,
            array[
                sum(h.waits[1]), sum(h.waits[2]), sum(h.waits[3]), sum(h.waits[4]), sum(h.waits[5]),
                sum(h.waits[6]), sum(h.waits[7]), sum(h.waits[8]), sum(h.waits[9]),
                sum(h.waits[10]), sum(h.waits[11]), sum(h.waits[12]), sum(h.waits[13]),
                sum(h.waits[14]), sum(h.waits[15]), sum(h.waits[16]), sum(h.waits[17]),
                sum(h.waits[18]), sum(h.waits[19]), sum(h.waits[20]), sum(h.waits[21]),
                sum(h.waits[22]), sum(h.waits[23])
            ] as waits,
            array[
                sum(h.runs[1]), sum(h.runs[2]), sum(h.runs[3]), sum(h.runs[4]), sum(h.runs[5]),
                sum(h.runs[6]), sum(h.runs[7]), sum(h.runs[8]), sum(h.runs[9]), sum(h.runs[10]),
                sum(h.runs[11]), sum(h.runs[12]), sum(h.runs[13]), sum(h.runs[14]), sum(h.runs[15]),
                sum(h.runs[16]), sum(h.runs[17]), sum(h.runs[18]), sum(h.runs[19]), sum(h.runs[20]),
                sum(h.runs[21]), sum(h.runs[22]), sum(h.runs[23])
            ] as runs
        from jobs_history h
        where h.span = interval '1 minute' and h.starts_at >= v_since
            and h.outcome <> 'cancelled'
        group by 1
    ) s;
end
$$;

comment on function _jobs_recent_ends is
    'internal: how many attempts ended lately, how many badly, and how long they waited and ran';
