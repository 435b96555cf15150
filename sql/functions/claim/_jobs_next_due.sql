-- floors: as for jobs_claim. since: reads each level from there on if that is lower than its floor.
-- Like a claim, it reads from 0.2 s below now at the latest. before: what is due later does not
-- matter, and null comes back for it.
create or replace function _jobs_next_due(
    queues text[],
    job_types text[] default null,
    floors jsonb default null,
    since timestamptz default 'infinity',
    before timestamptz default 'infinity'
) returns timestamptz
language plpgsql stable security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    c_few_queues constant int := 8;
    v_from timestamptz := least(since, clock_timestamp() - interval '0.2 seconds');
    v_wanted_types text[] := case
        when cardinality(job_types) > 1 then array(select distinct unnest(job_types))
        when job_types is null and cardinality(queues) > c_few_queues then _jobs_types_pending()
        else job_types end;
    v_types text[];
    v_queue text;
    v_level int;
    v_floor timestamptz;
    v_before timestamptz := before;
    v_is_limited boolean;
    v_floors jsonb;
    v_opens_at timestamptz;
    v_has_room_at timestamptz;
    v_queue_due timestamptz;
    v_due timestamptz;
begin
    foreach v_queue in array array(select distinct unnest(queues)) loop
        select case when q.paused_at is not null
                        and (q.paused_until is null or q.paused_until > clock_timestamp())
                    then coalesce(q.paused_until, 'infinity') end,
            q.has_groups or q.max_running is not null or q.rate_count is not null
        into v_opens_at, v_is_limited
        from jobs_queues q where q.queue = v_queue;
        continue when v_opens_at >= v_before;
        v_floors := floors;
        v_queue_due := null;
        if v_is_limited then
            -- Infinity where the queue is full: the end of one of its jobs wakes the workers. Null
            -- without a limit. Floors may be too high where a look passed over due jobs.
            v_has_room_at := _jobs_queue_opens_at(v_queue);
            continue when v_has_room_at >= v_before;
            v_floors := case when v_has_room_at is null then floors end;
            v_opens_at := greatest(v_opens_at, v_has_room_at);
            v_queue_due := _jobs_next_turn(v_queue, v_wanted_types);
        end if;
        v_level := 10;
        loop
            v_level := _jobs_next_level(v_queue, v_level, v_floors);
            exit when v_level is null;
            v_floor := least(v_from, coalesce(
                (v_floors -> v_queue ->> v_level::text)::timestamptz, '-infinity'));
            v_types := coalesce(
                v_wanted_types,
                _jobs_types_present(v_queue, v_level, least(v_before, v_queue_due)));
            v_queue_due := least(v_queue_due, (
                select min(first.run_at)
                from unnest(v_types) t(job_type)
                cross join lateral (
                    select j.run_at from jobs j
                    where j.status = 'pending'
                        and j.group_key is null
                        and j.queue = v_queue
                        and j.priority = v_level
                        and j.job_type = t.job_type
                        and j.run_at >= v_floor
                        and j.run_at < least(v_before, v_queue_due)
                        -- A due job that was lost may wait for the end of another one, not for a
                        -- time.
                        and (j.crash_count = 0 or j.run_at > clock_timestamp())
                    order by j.run_at
                    limit 1
                ) first));
        end loop;
        v_due := least(v_due, greatest(v_queue_due, case when v_queue_due is not null
            then v_opens_at end));
        v_before := least(v_before, v_due);
    end loop;
    return v_due;
end
$$;

comment on function _jobs_next_due is
    'internal: jobs_next_due for a worker that knows what it has claimed';
