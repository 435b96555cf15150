-- Reads at most 10,000 jobs of each status: where more have ended, the rate is that of those.
create or replace function _jobs_rates(within interval)
returns table (status text, per_second float8)
language sql stable security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
select s.status, e.jobs / extract(epoch from
    case when e.jobs = 10000 then clock_timestamp() - e.first else within end)::float8
from unnest('{completed,failed,cancelled}'::text[]) with ordinality s(status, place)
cross join lateral (
    select count(*) as jobs, min(f.finished_at) as first
    from (
        select j.finished_at from jobs j
        where j.status = s.status and j.status <> 'pending'
            and j.finished_at >= statement_timestamp() - within
        order by j.finished_at desc
        limit 10000
    ) f
) e
order by s.place
$$;

comment on function _jobs_rates is
    'internal: how many jobs a second have reached each final status lately';
