-- Takes no lock: who only reads asks it as it is, a claim calls _jobs_queue_room, which locks first.
create or replace function _jobs_queue_room_now(settings jobs_queues, at timestamptz) returns int
language plpgsql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_places int;
    v_starts int;
begin
    if settings.max_running is not null then
        select settings.max_running - count(*) into v_places
        from (
            select from jobs j
            where j.status = 'processing' and j.queue = settings.queue
            limit settings.max_running) r;
    end if;
    if settings.rate_count is not null then
        v_starts := coalesce(
            (select _jobs_starts_room(s.moments, s.counts, settings.rate_count,
                                      settings.rate_period, at)
             from jobs_starts s where s.queue = settings.queue and s.group_key = ''),
            settings.rate_count);
    end if;
    return greatest(least(v_places, v_starts), 0);
end
$$;

comment on function _jobs_queue_room_now is
    'internal: how many jobs of a queue its own limits let start; null: it has none';
