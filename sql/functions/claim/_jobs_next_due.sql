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
    v_due timestamptz;
begin
    foreach v_queue in array array(select distinct unnest(queues)) loop
        continue when exists (select from jobs_queues q
                              where q.queue = v_queue and q.paused_at is not null);
        v_level := 10;
        loop
            v_level := _jobs_next_level(v_queue, v_level, floors);
            exit when v_level is null;
            v_floor := least(v_from, coalesce(
                (floors -> v_queue ->> v_level::text)::timestamptz, '-infinity'));
            v_types := coalesce(
                v_wanted_types, _jobs_types_present(v_queue, v_level, v_before));
            v_due := least(v_due, (
                select min(first.run_at)
                from unnest(v_types) t(job_type)
                cross join lateral (
                    select j.run_at from jobs j
                    where j.status = 'pending'
                        and j.queue = v_queue
                        and j.priority = v_level
                        and j.job_type = t.job_type
                        and j.run_at >= v_floor
                        and j.run_at < v_before
                        -- A due job that was lost may wait for the end of another one, not for a
                        -- time.
                        and (j.crash_count = 0 or j.run_at > clock_timestamp())
                    order by j.run_at
                    limit 1
                ) first));
            v_before := least(v_before, v_due);
        end loop;
    end loop;
    return v_due;
end
$$;

comment on function _jobs_next_due is
    'internal: jobs_next_due for a worker that knows what it has claimed';
