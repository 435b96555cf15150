-- For who reads: without the queue's lock, so that a claim may change the answer at once.
create or replace function _jobs_queue_room_now(settings jobs_queues, at timestamptz) returns int
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
as $$
select greatest(least(
    settings.max_running - (
        select count(*) from (
            select from jobs j
            where j.status = 'processing' and j.queue = settings.queue
            limit settings.max_running) r)::int,
    case when settings.rate_count is not null then coalesce(
        (select _jobs_starts_room(s.moments, s.counts, settings.rate_count, settings.rate_period, at)
         from jobs_starts s where s.queue = settings.queue and s.group_key = ''),
        settings.rate_count) end), 0)
$$;

comment on function _jobs_queue_room_now is
    'internal: how many jobs of a queue its own limits let start now; null: it has none';
