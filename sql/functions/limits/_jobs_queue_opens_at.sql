create or replace function _jobs_queue_opens_at(queue text) returns timestamptz
language sql volatile
set search_path from current
as $$
select case
    when q.max_running <= (
        select count(*) from (
            select from jobs j
            where j.status = 'processing' and j.queue = q.queue
            limit q.max_running) r)
    then 'infinity'
    -- That moment itself would be later than the caller's.
    when q.rate_count is not null then (
        select coalesce(nullif(_jobs_room_at(q.queue, '', q.rate_count, q.rate_period, c.now), c.now),
                        '-infinity')
        from (select clock_timestamp() as now offset 0) c)
    when q.max_running is not null then '-infinity'
    end::timestamptz
from jobs_queues q where q.queue = _jobs_queue_opens_at.queue
$$;

comment on function _jobs_queue_opens_at is
    'internal: when the queue''s own limits allow the next start: -infinity: now; infinity: after an'
    ' end; null: it has none';
