create or replace function _jobs_key_holder(job_type text, unique_key text) returns setof jobs
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
select j.*
from jobs j
where j.job_type = _jobs_key_holder.job_type
    and j.unique_key = _jobs_key_holder.unique_key
    and (case when j.unique_scope <> 'pending' or j.status in ('pending', 'blocked') then 0
         else j.id end) = 0
    and (j.unique_scope <> 'live' or j.finished_at is null)
$$;

comment on function _jobs_key_holder is 'internal: the job of this type that holds the unique_key';
