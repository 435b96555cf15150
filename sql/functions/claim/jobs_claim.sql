-- Two sessions cannot both win a job: the first locks the job's row, and the second skips it by
-- `skip locked`. A session that locks the row later reads the new status.
--
-- A claim visits the levels of a queue (its priorities) from the highest one down:
-- _jobs_next_level. Within a level each type is a range of ix_jobs_claim in the order of run_at. A
-- claim of several types locks all due rows up to a bound (_jobs_claim_bound) and none beyond it.
-- The claim moves the bound on until it has max_jobs. So it reads about as many rows as it takes,
-- whatever waits in other types, levels and queues or in the future.
--
-- Of many types it first asks whether anything is due in the level (_jobs_is_any_due): the bound
-- and the update would cost two probes per type.
--
-- The settings leave the planner no choice but index scans: on a table without statistics any other
-- plan (a sequential scan, a bitmap and a sort) costs a thousand times more.
--
-- floors, suspects and free are for pgjobs' own worker. floors: {"queue": {"priority": "run_at"}},
-- a lower bound of run_at per level, from a worker that knows what it has claimed. While another
-- session holds an old snapshot, vacuum cannot remove the index entries of claimed jobs, and a
-- claim without floors walks over all of them. A claim reads from 0.2 s below now at the latest,
-- because a job may become visible a little after a later one (docs/decisions/0006-floors.md).
-- suspects: false takes no job that was lost before. free: of a queue with limits or groups at most
-- as many jobs, because a job that waits for a free slot in the worker would hold a place that
-- another one could use.
create or replace function jobs_claim(
    worker text,
    queues text[] default '{default}',
    max_jobs int default 1,
    lease interval default '1 minute',
    job_types text[] default null,
    floors jsonb default null,
    suspects boolean default true,
    free int default null
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
    c_last_id constant bigint := 9223372036854775807;
    c_few_types constant int := 8;
    c_few_queues constant int := 8;
    v_now timestamptz := clock_timestamp();
    v_lease_until timestamptz;
    v_left int := coalesce(max_jobs, 1);
    v_visited text[] := '{}';
    v_queue text;
    v_gate text;
    v_settings jobs_queues;
    v_floors jsonb;
    v_room int;
    v_for_others int;
    v_for_groups int;
    v_in_groups bigint[];
    v_has_crashed_jobs boolean;
    v_first bigint[];
    v_crashed bigint[];
    v_takes_crashed boolean;
    v_level int;
    v_wanted_types text[] := case
        when cardinality(job_types) > 1 then array(select distinct unnest(job_types))
        when job_types is null and cardinality(queues) > c_few_queues then _jobs_types_pending()
        else job_types end;
    v_types text[];
    v_after_run_at timestamptz;
    v_after_id bigint;
    v_bound_run_at timestamptz;
    v_bound_id bigint;
    v_chunk int;
    v_count bigint;
begin
    perform _jobs_check_claim(worker, queues, max_jobs, lease, job_types);
    v_lease_until := _jobs_after(v_now, coalesce(lease, '1 minute'));
    foreach v_queue in array coalesce(queues, '{default}') loop
        exit when v_left = 0;
        continue when v_queue = any (v_visited);
        select (select case when q.paused_at is not null
                                and (q.paused_until is null or q.paused_until > v_now)
                                then 'paused'
                            when q.has_groups or q.max_running is not null
                                or q.rate_count is not null then 'limited' end
                from jobs_queues q where q.queue = v_queue),
            exists (select from jobs j
                    where j.status = 'pending' and j.crash_count > 0 and j.queue = v_queue)
        into v_gate, v_has_crashed_jobs;
        continue when v_gate = 'paused';
        v_visited := v_visited || v_queue;
        v_floors := floors;
        v_for_others := 0;
        v_for_groups := 0;
        if v_gate = 'limited' then
            select q.* into v_settings from jobs_queues q where q.queue = v_queue;
            v_room := least(v_left, case when free is not null
                then greatest(v_left - coalesce(max_jobs, 1) + free, 0) end);
            continue when v_room = 0;
            if num_nonnulls(v_settings.max_running, v_settings.rate_count) > 0 then
                v_room := _jobs_queue_room(v_settings, v_room);
                continue when v_room = 0;
                -- A look for due jobs passes over a full queue, so that its floors may be too high.
                v_floors := null;
            end if;
            v_for_others := v_left - v_room;
            v_left := v_room;
            if v_settings.has_groups then
                v_for_groups := _jobs_share_of_groups(v_queue, v_wanted_types, v_left, v_now);
                v_in_groups := _jobs_claim_groups(worker, v_settings, v_for_groups, v_lease_until,
                                                  v_wanted_types, v_has_crashed_jobs and suspects);
                v_left := v_left - cardinality(v_in_groups);
                -- What groups have left over is for jobs without a group, and the other way round.
                v_for_groups := case when cardinality(v_in_groups) = v_for_groups then v_left
                    else 0 end;
                return query
                select j.* from jobs j
                where j.id = any (v_in_groups)
                order by j.attempt = 1, j.priority desc, j.run_at, j.id;
            end if;
        end if;
        -- What comes first: the suspect, in the first level's statement; then in each level the
        -- jobs that were lost. They are read by an index of their own, without floors.
        v_first := case when v_has_crashed_jobs and suspects
            then _jobs_lock_suspect(worker, v_queue, job_types, v_now) else '{}' end;
        v_takes_crashed := v_has_crashed_jobs and suspects and v_first = '{}'
            and not _jobs_holds_crashed(worker, only_suspects => true);
        v_left := v_left - cardinality(v_first);

        v_level := 10;
        while v_left > 0 or v_first <> '{}' loop
            v_level := _jobs_next_level(v_queue, v_level, v_floors);
            exit when v_level is null;
            v_after_run_at := least(v_now - interval '0.2 seconds', coalesce(
                (v_floors -> v_queue ->> v_level::text)::timestamptz, '-infinity'));
            v_after_id := 0;
            v_types := coalesce(v_wanted_types, _jobs_types_present(v_queue, v_level, v_now));
            if v_takes_crashed then
                v_crashed := _jobs_lock_crashed(v_queue, v_level, v_types, v_now, v_left);
                v_first := v_first || v_crashed;
                v_left := v_left - cardinality(v_crashed);
            end if;
            if cardinality(v_types) not between 1 and c_few_types and v_first = '{}' then
                continue when not _jobs_is_any_due(
                    v_queue, v_level, v_types, v_after_run_at, v_now);
            end if;
            v_chunk := case when cardinality(v_types) = 1 then v_left else least(
                v_left, 8 + 2 * least(v_left, 10000) / greatest(cardinality(v_types), 1)) end;
            loop
                v_bound_run_at := null;
                v_bound_id := null;
                if cardinality(v_types) > 1 and v_left > 0 then
                    select b.run_at, b.id into v_bound_run_at, v_bound_id
                    from _jobs_claim_bound(v_queue, v_level, v_types, v_now,
                                           v_after_run_at, v_after_id, v_chunk, v_left) b;
                end if;
                -- One statement locks and updates: two cost a ninth more with cold caches.
                return query
                with claimed as (
                    update jobs j
                    set status = 'processing',
                        worker = jobs_claim.worker,
                        -- No count that a row can hold makes the claim of the others fail.
                        attempt = least(j.attempt, 2147483646) + 1,
                        lease_until = v_lease_until,
                        updated_at = v_now,
                        started_at = v_now
                    where j.id = any (v_first || array(
                        select due.id
                        from unnest(v_types) t(job_type)
                        cross join lateral (
                            select j.id
                            from jobs j
                            where j.status = 'pending'
                                and j.group_key is null
                                and j.queue = v_queue
                                and j.priority = v_level
                                and j.job_type = t.job_type
                                and (j.run_at, j.id) > (v_after_run_at, v_after_id)
                                and (j.run_at, j.id) <= (coalesce(v_bound_run_at, v_now),
                                                         coalesce(v_bound_id, c_last_id))
                                and j.crash_count = 0
                            order by j.run_at, j.id
                            limit v_left
                            for no key update skip locked
                        ) due
                        -- More rows may be below the bound than when it was read.
                        limit v_left))
                    returning j.*
                )
                select c.* from claimed c
                order by c.id <> all (v_first), c.run_at, c.id;
                get diagnostics v_count = row_count;
                v_left := v_left + cardinality(v_first) - v_count;
                v_first := '{}';
                exit when v_left = 0 or v_bound_run_at is null;
                v_after_run_at := v_bound_run_at;
                v_after_id := v_bound_id;
                v_chunk := least(v_chunk * 2, 1000);
            end loop;
        end loop;
        if v_gate = 'limited' then
            if v_left > 0 and v_for_groups > 0 then
                v_in_groups := _jobs_claim_groups(worker, v_settings, v_left, v_lease_until,
                                                  v_wanted_types, v_has_crashed_jobs and suspects);
                v_left := v_left - cardinality(v_in_groups);
                return query
                select j.* from jobs j
                where j.id = any (v_in_groups)
                order by j.attempt = 1, j.priority desc, j.run_at, j.id;
            end if;
            if v_settings.rate_count is not null and v_left < v_room then
                perform _jobs_spend(v_queue, '', v_room - v_left, v_settings.rate_period);
            end if;
            v_left := v_left + v_for_others;
        end if;
    end loop;
    -- A claim of one queue with limits or groups, the usual case of those, need not ask.
    if v_left = max_jobs and (v_gate is distinct from 'limited' or cardinality(v_visited) > 1) then
        perform _jobs_flag_groups(v_visited);
    end if;
end
$$;

comment on function jobs_claim is
    'gives the worker up to max_jobs due jobs: queues in order, higher priority first, then run_at';
