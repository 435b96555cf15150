-- Two claims never exceed a group's limit or rate: this function counts what runs, and takes jobs, by
-- statements that begin after the group's lock was obtained, and the claim holds that lock until its
-- commit. Locks are only tried, so there is no deadlock. A lock stands for one of 2,048 sets of
-- groups, because the server's table of locks is limited.
--
-- No turn is missing: at each commit every pending job of a group has a turn that is not later than
-- the job may start. This function deletes the turns of a group by one statement, and reads what is
-- pending by a later one. A job that the later statement does not see has a turn that the first one
-- did not see. Whoever ends a job of a group with a limit inserts a turn, because this function may
-- have counted that job as running (_jobs_free_places).
--
-- Turns are taken in the order of turn_at, and a group from which jobs were taken gets a new one
-- behind all that are due: so the groups are served in turn, up to four jobs at a time.
create or replace function _jobs_claim_groups(
    worker text,
    settings jobs_queues,
    max_jobs int,
    lease_until timestamptz,
    job_types text[],
    suspects boolean
) returns setof jobs
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
declare
    c_rounds constant int := 3;
    c_max_groups constant int := 1000;
    c_max_turns constant int := 2000;
    -- Where an end frees a place, the end inserts a turn: this is for jobs that are changed by hand.
    c_while_full constant interval := '10 seconds';
    -- Another session has locked a row, or this worker may not take a suspect now.
    c_while_refused constant interval := '0.1 seconds';
    c_locks constant int := 'jobs'::regclass::oid::int;
    q constant text := settings.queue;
    v_limit constant int := settings.max_running_per_group;
    v_rate constant int := settings.group_rate_count;
    v_period constant interval := settings.group_rate_period;
    v_in_order constant boolean := settings.in_order;
    v_per_visit constant int := greatest(least(coalesce(v_limit, 4), 4), 1);
    v_types text[] := job_types;
    v_left int := max_jobs;
    v_now timestamptz;
    v_want int := (max_jobs + v_per_visit - 1) / v_per_visit;
    v_seen int;
    v_groups text[];
    v_turns timestamptz[];
    v_more text[];
    v_share int;
    v_ids bigint[];
    v_keys text[];
    v_locked bigint[];
    v_taken text[];
    v_foreign text[];
    v_takes_crashed boolean := suspects and not _jobs_holds_crashed(worker, only_suspects => true);
    v_takes_suspect boolean := v_takes_crashed
        and not _jobs_holds_crashed(worker, only_suspects => false);
begin
    perform _jobs_check_isolation();
    if v_types is null then
        v_types := _jobs_turn_types(q);
    end if;
    for v_round in 1..c_rounds loop
        v_now := clock_timestamp();
        with due as materialized (
            select t.group_key, t.turn_at
            from unnest(v_types) k(job_type)
            cross join lateral (
                select t.group_key, t.turn_at from jobs_turns t
                where t.queue = q and t.job_type = k.job_type and t.turn_at <= v_now
                    and pg_try_advisory_xact_lock(c_locks, hashtext(q || chr(1) || t.group_key) & 2047)
                order by t.turn_at
                limit v_want
            ) t
            order by t.turn_at
            limit v_want
        ), named as (
            select d.group_key, min(d.turn_at) as turn_at from due d group by d.group_key
        )
        select array_agg(n.group_key order by n.turn_at), array_agg(n.turn_at order by n.turn_at),
            (select count(*) from due)
        into v_groups, v_turns, v_seen
        from named n;
        exit when v_groups is null;

        delete from jobs_turns t
        where t.ctid = any (array(
            select d.ctid from unnest(v_groups) g(group_key)
            cross join lateral (
                select d.ctid from jobs_turns d
                where d.queue = q and d.group_key = g.group_key
                limit c_max_turns
            ) d
            limit c_max_turns));

        v_taken := '{}';
        v_more := v_groups;
        while v_left > 0 and v_more <> '{}' loop
            v_share := (v_left + cardinality(v_more) - 1) / cardinality(v_more);
            with level as materialized (
                select l.* from _jobs_group_levels(q, v_more) l
            ), room as materialized (
                select g.group_key, g.place, least(
                    v_share,
                    v_limit - (select count(*) from (
                        select from jobs r
                        where r.queue = q and r.group_key = g.group_key
                            and r.status = 'processing' and r.finished_at is null
                        limit v_limit) r),
                    case when v_rate is not null then coalesce(
                        (select _jobs_starts_room(s.moments, s.counts, v_rate, v_period, v_now)
                         from jobs_starts s where s.queue = q and s.group_key = g.group_key),
                        v_rate) end)::int as jobs
                from unnest(v_more) with ordinality g(group_key, place)
            ), first as (
                select r.group_key, r.place, c.id, c.is_allowed, c.is_suspect, c.is_crashed,
                    row_number() over (partition by r.group_key order by c.rank, c.run_at, c.id) as n,
                    r.jobs
                from room r
                join level l on l.group_key = r.group_key
                cross join lateral (
                    select j.id, j.run_at, l.rank, j.crash_count > 0 as is_crashed,
                        _jobs_is_suspect(j.crash_count, j.max_retries) as is_suspect,
                        j.run_at <= v_now and l.job_type = any (v_types) and (
                            j.crash_count = 0 or v_takes_suspect
                            or v_takes_crashed
                                and not _jobs_is_suspect(j.crash_count, j.max_retries)
                        ) as is_allowed
                    from jobs j
                    where j.queue = q and j.group_key = r.group_key and j.status = 'pending'
                        and j.finished_at is null and j.job_type = l.job_type
                        and _jobs_rank(j.attempt, j.priority) = l.rank
                        -- In order, a job that waits for its retry holds back the others.
                        and (j.run_at <= v_now or v_in_order and l.rank < 10)
                    order by j.run_at, j.id
                    limit greatest(r.jobs, 0)
                ) c
                where case
                    when v_in_order then l.rank < 10 or not exists (
                        select from level b where b.group_key = r.group_key and b.rank < 10)
                    else l.job_type = any (v_types) end
            ), allowed as (
                select f.*, case when v_in_order
                        then bool_and(f.is_allowed) over (partition by f.group_key order by f.n)
                        else f.is_allowed end as may_start
                from first f
                where f.n <= f.jobs
            ), chosen as (
                select a.*,
                    count(*) filter (where a.is_suspect) over (order by a.n, a.place) as suspects,
                    bool_or(a.is_suspect) over () as any_suspect
                from allowed a
                where a.may_start
            )
            select array_agg(c.id), array_agg(c.group_key)
            into v_ids, v_keys
            from (
                select c.id, c.group_key from chosen c
                -- A suspect comes alone among jobs that were lost before.
                where not c.is_crashed or not c.any_suspect or c.is_suspect and c.suspects = 1
                order by c.n, c.place
                limit v_left
            ) c;
            exit when v_ids is null;
            v_locked := array(
                select j.id from jobs j
                where j.id = any (v_ids) and j.status = 'pending'
                for no key update skip locked);
            if cardinality(v_locked) < cardinality(v_ids) then
                select array_agg(c.id), array_agg(c.group_key) into v_ids, v_keys
                from (
                    select u.id, u.group_key, case when v_in_order
                            then bool_and(u.id = any (v_locked))
                                over (partition by u.group_key order by u.place)
                            else u.id = any (v_locked) end as may_start
                    from unnest(v_ids, v_keys) with ordinality u(id, group_key, place)
                ) c
                where c.may_start;
                exit when v_ids is null;
            end if;
            return query
            with claimed as (
                update jobs j
                set status = 'processing',
                    worker = _jobs_claim_groups.worker,
                    attempt = least(j.attempt, 2147483646) + 1,
                    lease_until = _jobs_claim_groups.lease_until,
                    updated_at = v_now,
                    started_at = v_now
                where j.id = any (v_ids)
                returning j.*
            )
            select c.* from claimed c
            order by c.attempt = 1, c.priority desc, c.run_at, c.id;
            v_left := v_left - cardinality(v_ids);
            v_taken := v_taken || v_keys;
            if v_takes_crashed and exists (
                select from jobs j where j.id = any (v_ids) and j.crash_count > 0)
            then
                v_takes_suspect := false;
                v_takes_crashed := not _jobs_holds_crashed(worker, only_suspects => true);
            end if;
            if v_rate is not null then
                perform _jobs_spend(q, k.group_key, k.starts::int, v_period)
                from (select k.group_key, count(*) as starts
                      from unnest(v_keys) k(group_key) group by k.group_key) k;
            end if;
            exit when v_left = 0 or v_limit <= v_share;
            v_more := array(select k.group_key from unnest(v_keys) k(group_key)
                            group by k.group_key having count(*) >= v_share);
        end loop;

        with pending as materialized (
            select l.group_key, l.job_type, min(l.rank) as rank, min(l.run_at) as run_at,
                min(l.run_at) filter (where l.rank < 10) as begun_run_at
            from _jobs_group_levels(q, v_groups) l
            group by l.group_key, l.job_type
        ), visited as materialized (
            select g.group_key, g.turn_at, g.group_key = any (v_taken) as was_served,
                case when v_limit is not null and v_limit <= (
                        select count(*) from (
                            select from jobs r
                            where r.queue = q and r.group_key = g.group_key
                                and r.status = 'processing' and r.finished_at is null
                            limit v_limit) r)
                    then v_now + c_while_full end as full_until,
                case when v_rate is not null
                    then _jobs_room_at(q, g.group_key, v_rate, v_period, v_now) end as room_at
            from unnest(v_groups, v_turns) g(group_key, turn_at)
        ), head as (
            -- In order, only the type of the first job gets a turn: the others wait for that job.
            select distinct on (p.group_key, case when v_in_order then '' else p.job_type end)
                p.group_key, p.job_type,
                case when v_in_order then coalesce(p.begun_run_at, p.run_at) else p.run_at end
                    as run_at
            from pending p
            order by p.group_key, case when v_in_order then '' else p.job_type end,
                p.begun_run_at is null, p.run_at > v_now, p.rank, p.run_at
        ), turn as (
            insert into jobs_turns (queue, group_key, job_type, turn_at)
            select q, v.group_key, h.job_type, greatest(
                case
                    when h.run_at > v_now then h.run_at
                    when v.was_served then v_now
                    when v_left > 0 and h.job_type = any (v_types) then v_now + c_while_refused
                    else v.turn_at end,
                v.full_until, v.room_at)
            from visited v
            join head h on h.group_key = v.group_key
            returning job_type, turn_at
        )
        select array_agg(distinct t.job_type) into v_foreign
        from turn t
        where t.turn_at <= v_now and t.job_type <> all (v_types);
        -- The workers of these types may have read a later turn.
        if v_foreign is not null then
            perform _jobs_signal(q, v_now, jobs => cardinality(v_foreign), job_types => v_foreign);
        end if;
        exit when v_left = 0 or v_seen < v_want;
        v_want := least(case when v_taken = '{}' then v_want * 4 else v_left end, c_max_groups);
    end loop;
end
$$;

comment on function _jobs_claim_groups is
    'internal: claims jobs of the groups of a queue whose turn has come';
