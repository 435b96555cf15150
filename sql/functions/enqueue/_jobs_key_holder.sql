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
    and (j.unique_scope in ('kept', 'period') or j.status in ('pending', 'blocked')
        or j.status = 'processing' and j.unique_scope = 'live')
$$;

comment on function _jobs_key_holder is 'internal: the job of this type that holds the unique_key';
