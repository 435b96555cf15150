-- Acts as its owner, because an observer may not read unique keys. Reads 1,000 jobs that were lost,
-- and the newest 1,000 that failed; looks for the holders of 100 keys.
create or replace function _jobs_doctor_held()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
with suspect as (
    select j.id, format('%s (%s, lost %s times)', j.id, j.job_type, j.crash_count) as told,
        row_number() over (order by j.id) as place
    from (
        select j.id, j.job_type, j.crash_count, j.max_retries from jobs j
        where j.status = 'pending' and j.crash_count > 0
        order by j.queue, j.priority, j.run_at, j.id
        limit 1000
    ) j
    where _jobs_is_suspect(j.crash_count, j.max_retries)
), keyed as materialized (
    select f.id, f.job_type, f.unique_key
    from (
        select j.id, j.job_type, j.unique_key from jobs j
        where j.status = 'failed'
        order by j.status desc, j.finished_at desc
        limit 1000
    ) f
    where f.unique_key is not null
    limit 100
), held as (
    select k.id, row_number() over (order by k.id desc) as place,
        format('%s (%s; job %s, %s, holds the key)', k.id, k.job_type, h.id, h.status) as told
    from keyed k
    cross join lateral (
        select h.id, h.status, h.created_at
        from _jobs_key_holder(k.job_type, k.unique_key) h offset 0) h
    where h.id <> k.id and h.status in ('pending', 'blocked')
        and h.created_at < clock_timestamp() - interval '10 minutes'
), told as (
    select (
        select string_agg(s.told, ', ' order by s.place) filter (where s.place <= 3)
            || case when count(*) > 3 then format(', and %s more', count(*) - 3) else '' end
        from suspect s) as suspects, (
        select string_agg(h.told, ', ' order by h.place) filter (where h.place <= 3)
            || case when count(*) > 3 then format(', and %s more', count(*) - 3) else '' end
        from held h) as held
)
select c.* from told t cross join lateral (
    values
    ('suspect jobs', case when t.suspects is not null then 'warn' else 'ok' end,
     coalesce(t.suspects, 'none'),
     'each may kill its worker, so a worker takes it alone: see how those workers ended (pgjobs show '
         'ID); to start it anew: pgjobs cancel ID, then pgjobs retry ID'),
    ('held keys', case when t.held is not null then 'warn' else 'ok' end,
     coalesce(t.held, 'none'),
     'these failed and cannot be retried, because another job has waited with their unique key for '
         '10 minutes: see why (pgjobs why ID), or pgjobs cancel it and retry the failed one')
) c(check_name, verdict, detail, advice)
$$;

comment on function _jobs_doctor_held is
    'internal: the doctor''s checks of jobs that were lost, and of failed ones whose key is held';
