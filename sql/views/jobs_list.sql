-- What an observer may see of each job: not payload, headers, progress, result, keys, backoff. The
-- error may quote the payload, so only roles that may read the table itself see the error.
create or replace view jobs_list as
select j.id,
    j.queue,
    j.job_type,
    j.status,
    j.priority,
    j.reference_type,
    j.reference_id,
    j.reference_key,
    j.group_key,
    j.batch_id,
    j.retry_count,
    j.max_retries,
    j.crash_count,
    j.attempt,
    j.run_at,
    j.expires_at,
    j.depends_on_left,
    j.worker,
    j.lease_until,
    j.cancel_requested_at,
    j.created_at,
    j.updated_at,
    j.started_at,
    j.finished_at,
    statement_timestamp() - case j.status
        when 'pending' then j.run_at
        when 'processing' then coalesce(j.started_at, j.updated_at)
        when 'blocked' then j.created_at
        else j.finished_at end as age,
    case when has_table_privilege('jobs'::regclass, 'select') then j.error end as error
from jobs j;

comment on view jobs_list is
    'jobs without payloads; age: since due, started, finished, or created (blocked)';
