-- Where a queue has limits or groups, the oldest due job is the oldest that a claim could take now.
create or replace view jobs_stats as
select s.queue,
    s.job_type,
    s.status,
    s.count,
    case when s.status <> 'pending' then null
        when q.queue is null then s.oldest_due
        else (select max(c.oldest_due) from _jobs_counts(10000, true) c
              where c.state = 'due' and c.queue = s.queue
                  and coalesce(c.job_type, s.job_type) = s.job_type) end as oldest_due
from (
    select j.queue,
        j.job_type,
        j.status,
        count(*) as count,
        clock_timestamp() - min(j.run_at) filter (
            where j.status = 'pending' and j.run_at <= clock_timestamp()) as oldest_due
    from jobs j
    group by j.queue, j.job_type, j.status
) s
left join jobs_queues q on q.queue = s.queue
    and (q.has_groups or num_nonnulls(q.max_running, q.rate_count) > 0);

comment on view jobs_stats is
    'per queue, type and status: how many jobs, and for how long the oldest due one has waited';
