-- Two sessions cannot both win a job: its row is locked with `for update skip locked`, so the
-- second one passes it by, and whoever locks it later re-reads its status and finds it taken.
--
-- Within a queue the levels of priority are visited from the highest that is present, each by an
-- index probe; within a level every type is a range of ix_jobs_claim in order of run_at. Several
-- types are merged by a bound: all that is due up to the bound is locked, nothing beyond it is
-- touched, and the bound moves on until max_jobs are found. So a claim reads about as many rows as
-- it takes, whatever waits in other types, levels, queues or in the future.
--
-- The planner may not choose: on a table without statistics, or with a stale plan, any of its other
-- ideas (a scan, a bitmap and a sort) costs a thousandfold. All statements here are index scans.
--
-- floors: {"queue": {"priority": "run_at"}}, a lower bound of run_at per level, for a worker that
-- knows what it has claimed: while another session holds an old snapshot open, the index entries of
-- the claimed jobs cannot be removed, and a claim without floors walks over all of them.
create or replace function jobs_claim(
    worker text,
    queues text[] default '{default}',
    max_jobs int default 1,
    lease interval default '1 minute',
    job_types text[] default null,
    floors jsonb default null
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    c_last constant bigint := 9223372036854775807;
    v_now timestamptz := clock_timestamp();
    v_queues text[] := '{}';
    v_queue text;
    v_paused boolean;
    v_suspects boolean;
    v_crashed boolean := false;
    v_wanted text[] := case when cardinality(job_types) > 1
        then array(select distinct unnest(job_types)) else job_types end;
    v_priority int;
    v_known int;
    v_floor timestamptz;
    v_types text[];
    v_lost bigint[];
    v_count bigint;
    v_left int := coalesce(max_jobs, 1);
    v_chunk int;
    v_run_at timestamptz;
    v_id bigint;
    v_bound_run_at timestamptz;
    v_bound_id bigint;
begin
    perform _jobs_check_claim(worker, queues, max_jobs, lease, job_types);
    if floors is not null then
        perform _jobs_check_floors(floors);
    end if;
    foreach v_queue in array coalesce(queues, '{default}') loop
        exit when v_left = 0;
        continue when v_queue = any (v_queues);
        select exists (select from jobs_queues q
                       where q.queue = v_queue and q.paused_at is not null),
            exists (select from jobs j
                    where j.status = 'pending' and j.crash_count > 0 and j.queue = v_queue)
        into v_paused, v_suspects;
        continue when v_paused;
        v_queues := v_queues || v_queue;
        v_lost := case when v_suspects and not v_crashed
            then _jobs_lock_suspect(worker, v_queue, job_types, v_now) else '{}' end;
        v_crashed := v_crashed or v_lost <> '{}';
        v_left := v_left - cardinality(v_lost);

        v_priority := 10;
        while v_left > 0 or v_lost <> '{}' loop
            -- A level that has a floor is known to be present: probing for it would meet its dead
            -- entries. Only the gap above it is probed.
            if floors is not null then
                v_known := (select max(f.key::int) from jsonb_object_keys(floors -> v_queue) f(key)
                            where f.key::int < v_priority);
            end if;
            v_priority := coalesce(
                (select j.priority from jobs j
                 where j.status = 'pending' and j.queue = v_queue
                     and j.priority < v_priority and j.priority > coalesce(v_known, -10)
                 order by j.priority desc limit 1),
                v_known);
            exit when v_priority is null;
            v_floor := (floors -> v_queue ->> v_priority::text)::timestamptz;
            v_run_at := coalesce(v_floor, '-infinity');
            v_id := 0;
            v_types := coalesce(v_wanted, _jobs_types_present(v_queue, v_priority));
            v_chunk := case when cardinality(v_types) = 1 then v_left else least(
                v_left, 8 + 2 * least(v_left, 10000) / greatest(cardinality(v_types), 1)) end;
            loop
                v_bound_run_at := null;
                v_bound_id := null;
                if cardinality(v_types) > 1 and v_left > 0 then
                    select b.run_at, b.id into v_bound_run_at, v_bound_id
                    from _jobs_claim_bound(
                        v_queue, v_priority, v_types, v_now, v_run_at, v_id, v_chunk, v_left) b;
                end if;
                return query
                with claimed as (
                    update jobs j
                    set status = 'processing',
                        worker = jobs_claim.worker,
                        attempt = j.attempt + 1,
                        lease_until = v_now + coalesce(lease, '1 minute'),
                        updated_at = v_now
                    -- The outer limit is for rows that were committed since the bound was read.
                    where j.id = any (v_lost || array(
                        select c.id
                        from unnest(v_types) t(job_type)
                        cross join lateral (
                            select j.id
                            from jobs j
                            where j.status = 'pending'
                                and j.queue = v_queue
                                and j.priority = v_priority
                                and j.job_type = t.job_type
                                and (j.run_at, j.id) > (v_run_at, v_id)
                                and (j.run_at, j.id) <= (coalesce(v_bound_run_at, v_now),
                                                         coalesce(v_bound_id, c_last))
                                and (j.crash_count = 0 or j.crash_count < least(j.max_retries, 2))
                            order by j.run_at, j.id
                            limit v_left
                            for update skip locked
                        ) c
                        limit v_left))
                    returning j.*
                )
                select c.* from claimed c
                order by c.id <> all (v_lost), c.run_at, c.id;
                get diagnostics v_count = row_count;
                v_left := v_left + cardinality(v_lost) - v_count;
                v_lost := '{}';
                exit when v_left = 0 or v_bound_run_at is null;
                v_run_at := v_bound_run_at;
                v_id := v_bound_id;
                v_chunk := least(v_chunk * 2, 1000);
            end loop;
        end loop;
    end loop;
end
$$;

comment on function jobs_claim is
    'gives the worker up to max_jobs due jobs: queues in order, higher priority first, then run_at';
