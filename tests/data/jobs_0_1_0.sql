-- Jobs in every state, as pgjobs 0.1.0 may leave them. Never to be edited, as schema_0_1_0.sql.
insert into jobs (
    job_type, queue, priority, payload, status, attempt, retry_count, crash_count, max_retries,
    unique_key, unique_scope, backoff, reference_type, reference_id, run_at, worker, lease_until,
    cancel_requested_at, created_at, updated_at, finished_at, result, error)
select j.job_type, coalesce(j.queue, 'default'), coalesce(j.priority, 0),
    coalesce(j.payload, '{}'), j.status, coalesce(j.attempt, 0), coalesce(j.retry_count, 0),
    coalesce(j.crash_count, 0), coalesce(j.max_retries, 3), j.unique_key,
    coalesce(j.unique_scope, 'live'), j.backoff, j.reference_type, j.reference_id,
    now() + coalesce(j.due, '-1 hour'), j.worker, now() + j.lease, now() + j.asked,
    now() - interval '20 days', now() + coalesce(j.changed, '-1 hour'),
    case when j.status in ('completed', 'failed', 'cancelled') then now() + j.changed end,
    j.result, j.error
from jsonb_to_recordset($jobs$[
    {"id": 1, "job_type": "due", "status": "pending", "payload": {"ä": ["€", 1.50, null]},
     "reference_type": "file_upload", "reference_id": 42, "due": "-50 minutes"},
    {"id": 2, "job_type": "urgent", "status": "pending", "priority": 9},
    {"id": 3, "job_type": "later", "status": "pending", "due": "1 day"},
    {"id": 4, "job_type": "retried", "status": "pending", "attempt": 2, "retry_count": 1,
     "backoff": ["10 s", "1 h"], "error": "no route to host", "due": "-40 minutes"},
    {"id": 5, "job_type": "crashed", "status": "pending", "attempt": 2, "crash_count": 2,
     "due": "-30 minutes"},
    {"id": 6, "job_type": "unique", "status": "pending", "unique_key": "live", "due": "-20 minutes"},
    {"id": 7, "job_type": "unique", "status": "completed", "unique_key": "kept",
     "unique_scope": "kept", "attempt": 1, "changed": "-1 hour", "result": {"pages": 3}},
    {"id": 8, "job_type": "waits", "status": "pending", "queue": "closed"},
    {"id": 9, "job_type": "held", "status": "processing", "attempt": 1, "worker": "psql",
     "lease": "1 hour"},
    {"id": 10, "job_type": "expired", "status": "processing", "attempt": 3, "worker": "psql",
     "lease": "-1 minute"},
    {"id": 11, "job_type": "leaseless", "status": "processing", "attempt": 1, "worker": "by hand"},
    {"id": 12, "job_type": "unwanted", "status": "processing", "attempt": 1, "worker": "psql",
     "lease": "-1 minute", "asked": "-2 minutes", "error": "not needed"},
    {"id": 13, "job_type": "old", "status": "completed", "attempt": 1, "changed": "-10 days",
     "result": [1, "x"]},
    {"id": 14, "job_type": "broken", "status": "failed", "attempt": 4, "retry_count": 3,
     "changed": "-10 days", "error": "Traceback\nValueError: é"},
    {"id": 15, "job_type": "stopped", "status": "cancelled", "changed": "-10 days",
     "error": "by mistake"},
    {"id": 16, "job_type": "orphaned", "status": "processing", "attempt": 1, "worker": "gone",
     "lease": "1 hour", "priority": -9}
]$jobs$) as j (
    id bigint, job_type text, queue text, priority int, payload jsonb, status text, attempt int,
    retry_count int, crash_count int, max_retries int, unique_key text, unique_scope text,
    backoff interval[], reference_type text, reference_id bigint, due interval, worker text,
    lease interval, asked interval, changed interval, result jsonb, error text)
order by j.id;

insert into jobs_queues (queue, paused_at) values ('closed', now()), ('opened again', null);

-- A worker whose session has been gone for a while.
insert into jobs_workers (
    worker, queues, concurrency, version, name_key, listening_key, polling_key)
values ('gone', '{default}', 10, '0.1.0', 1, 2, 3);
insert into jobs_worker_ticks (worker, seen_at, missed_at)
values ('gone', now() - interval '1 hour', now() - interval '1 hour');
