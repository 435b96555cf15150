-- The key first: with it a retry would raise.
create or replace function _jobs_why_ended(job jobs)
returns table (reason text, detail text, advice text)
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
select 'key held', format('job %s, which is %s, holds its unique key', h.id, h.status),
    case when h.finished_at is null
        then format('to run this job again: pgjobs cancel %s, then pgjobs retry %s', h.id, job.id)
        else format('job %s keeps the key after its end; to run a job like this one without the '
                    'key: select from jobs_copy(%s)', h.id, job.id) end
from (select) one
cross join lateral _jobs_key_holder(job.job_type, job.unique_key) h
where job.unique_key is not null and h.id <> job.id
union all
select job.status,
    format('it has ended: it %s %s ago, %s', case job.status
            when 'completed' then 'completed' when 'cancelled' then 'was cancelled'
            when 'failed' then 'failed for good' end,
        date_trunc('second', clock_timestamp() - job.finished_at), case
            when job.attempt = 0 then 'before any attempt'
            else format('after %s of it, of which %s lost their worker',
                        job.attempt || case job.attempt when 1 then ' attempt' else ' attempts' end,
                        job.crash_count) end),
    format('%sto run it again: pgjobs retry %s; to run a new job like it: select from jobs_copy(%s)',
           case job.status when 'completed' then ''
               else format('pgjobs show %s tells why; ', job.id) end, job.id, job.id)
$$;

comment on function _jobs_why_ended is
    'internal: how a job has ended, and who holds its unique_key since';
