-- A job of scope pending stands in ix_jobs_unique_key with its id when it waits no more.
create or replace function _jobs_key_successor(job jobs) returns bigint
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
select j.id
from jobs j
where j.job_type = job.job_type and j.unique_key = job.unique_key
    and (case when j.unique_scope <> 'pending' or j.status in ('pending', 'blocked') then 0
         else j.id end) > job.id
    and (j.unique_scope <> 'live' or j.finished_at is null)
    and j.status <> 'cancelled'
limit 1
$$;

comment on function _jobs_key_successor is
    'internal: a newer job of scope pending that has begun with the key of this job; null: none';
