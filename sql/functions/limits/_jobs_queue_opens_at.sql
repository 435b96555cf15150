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
    when q.rate_count is not null then coalesce(
        _jobs_room_at(q.queue, '', q.rate_count, q.rate_period, clock_timestamp()), '-infinity')
    when q.max_running is not null then '-infinity'
    end::timestamptz
from jobs_queues q where q.queue = _jobs_queue_opens_at.queue
$$;

comment on function _jobs_queue_opens_at is
    'internal: when the queue''s own limits allow the next start: infinity: after an end; null: it'
    ' has none';
