create or replace function _jobs_who_runs(queue text, group_key text) returns text
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
as $$
with running as (
    select j.id, j.worker, coalesce(j.started_at, j.updated_at) as since,
        row_number() over (order by coalesce(j.started_at, j.updated_at), j.id) as place
    from jobs j
    where j.status = 'processing' and j.finished_at is null and j.queue = _jobs_who_runs.queue
        and (_jobs_who_runs.group_key is null or j.group_key = _jobs_who_runs.group_key)
)
select format('ids %s%s, the oldest for %s by worker %s',
              string_agg(r.id::text, ', ' order by r.place) filter (where r.place <= 5),
              case when count(*) > 5 then format(' and %s more', count(*) - 5) else '' end,
              date_trunc('second', clock_timestamp() - min(r.since)),
              min(r.worker) filter (where r.place = 1))
from running r
having count(*) > 0
$$;

comment on function _jobs_who_runs is
    'internal: which jobs of a queue or a group run, for how long, and by whom';
