-- What failed or was lost, by type, class of the exception and first line of the error. The newest
-- attempts are read: those that ended within the interval, and not after before. max_read bounds
-- them, and the filters pass over some of them. by_error false: by type alone, and no text is read.
--
-- attempts, jobs     what of the group was read
-- failed, retrying   the jobs whose latest failure that was read is in this group: those that have
--                    failed for good by it, and those that have not ended. So a job counts in one group
-- job_ids            the newest jobs; failed_ids, retrying_ids: the oldest; max_ids of each at most
--
-- The groups with the most attempts come first, and max_groups of them at most; with failure_key
-- that group alone. The last row has no key: how many attempts were read, when the first of them
-- ended, and until when they were looked for.
create or replace function _jobs_failures(
    within interval,
    before timestamptz default null,
    only_type text default null,
    only_queue text default null,
    by_error boolean default true,
    max_groups int default 100,
    max_ids int default 3,
    failure_key text default null,
    max_read int default 5000
) returns table (
    key text, job_type text, error_kind text, error_line text, attempts bigint, jobs bigint,
    failed bigint, retrying bigint, first_at timestamptz, last_at timestamptz, job_ids bigint[],
    failed_ids bigint[], retrying_ids bigint[]
)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_nestloop = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := statement_timestamp();
    v_since constant timestamptz := coalesce(_jobs_after(v_now, -within), '-infinity');
    v_until constant timestamptz := least(before, v_now);
begin
    return query
    with read as materialized (
        select a.job_id, a.job_type, a.attempt, a.ended_at,
            case when by_error then a.error_kind end collate "C" as error_kind,
            case when by_error then split_part(left(a.error, 300), E'\n', 1) end collate "C" as line
        from (
            select r.* from jobs_attempts r
            where r.ended_at >= v_since and r.ended_at <= v_until
            order by r.ended_at desc
            limit max_read
        ) a
        where only_type is null or a.job_type = only_type
    ), lines as materialized (
        -- The pattern takes most of the time, so lines that are alike pass it once.
        select e.line, _jobs_error_line(e.line) collate "C" as told
        from (select distinct r.line from read r) e
    ), ended as materialized (
        select r.job_id, r.attempt as latest, j.status, j.attempt
        from (select r.job_id, max(r.attempt) as attempt from read r group by r.job_id) r
        cross join lateral (
            select * from jobs j where j.id = r.job_id offset 0
        ) j
        where only_queue is null or j.queue = only_queue
    ), told as (
        select r.job_id, r.job_type, r.ended_at, r.error_kind, l.told as line,
            r.attempt = e.latest and e.attempt = e.latest and e.status = 'failed' as has_failed,
            r.attempt = e.latest and e.status in ('pending', 'processing', 'blocked') as retries
        from read r
        join ended e on e.job_id = r.job_id
        left join lines l on l.line = r.line
    ), grouped as materialized (
        select left(encode(sha256(convert_to(
                jsonb_build_array(t.job_type, t.error_kind, t.line)::text, 'UTF8')), 'hex'), 32) as key,
            t.job_type, t.error_kind, t.line, count(*) as attempts, count(distinct t.job_id) as jobs,
            count(*) filter (where t.has_failed) as failed,
            count(*) filter (where t.retries) as retrying,
            min(t.ended_at) as first_at, max(t.ended_at) as last_at,
            array_agg(distinct t.job_id) as job_ids,
            array_agg(t.job_id order by t.job_id) filter (where t.has_failed) as failed_ids,
            array_agg(t.job_id order by t.job_id) filter (where t.retries) as retrying_ids
        from told t
        group by t.job_type, t.error_kind, t.line
    )
    select g.key, g.job_type, g.error_kind, g.line, g.attempts, g.jobs, g.failed, g.retrying,
        g.first_at, g.last_at,
        g.job_ids[greatest(cardinality(g.job_ids) - max_ids, 0) + 1:],
        coalesce(g.failed_ids[:max_ids], '{}'), coalesce(g.retrying_ids[:max_ids], '{}')
    from grouped g
    where failure_key is null or g.key = failure_key
    order by g.attempts desc, g.last_at desc, g.key
    limit max_groups;
    return query
    select null::text, null::text, null::text, null::text, count(*), null::bigint, null::bigint,
        null::bigint, min(r.ended_at), nullif(v_until, '-infinity'), null::bigint[],
        null::bigint[], null::bigint[]
    from (
        select a.ended_at from jobs_attempts a
        where a.ended_at >= v_since and a.ended_at <= v_until
        order by a.ended_at desc
        limit max_read
    ) r;
end
$$;

comment on function _jobs_failures is
    'internal: what has failed lately, by type, exception and line; the last row: what was read';
