create or replace view jobs_stats as
select j.queue,
    j.job_type,
    j.status,
    count(*) as count,
    clock_timestamp() - min(j.run_at) filter (
        where j.status = 'pending' and j.run_at <= clock_timestamp()) as oldest_due
from jobs j
group by j.queue, j.job_type, j.status;

comment on view jobs_stats is
    'per queue, type and status: how many jobs, and for how long the oldest due one has waited';
