-- Two claims never exceed a group's limit or rate: this function counts what runs, and takes jobs,
-- by statements that begin after the group's lock was obtained, and the claim holds that lock until
-- its commit. Locks are only tried, so there is no deadlock. A lock stands for one of 2,048 sets of
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
--
-- New turns are not earlier than the clock after their transaction has got its number, or they have
-- the place of one that this transaction deletes: _jobs_raise_turns_from relies on that.
--
-- A level is a type and a rank among the pending jobs of a group: a range of ix_jobs_group in the
-- order of run_at. The second statement goes from level to level by one index probe each, and reads
-- of each one job more than it may take: that job says when to look at the group again.
create or replace function _jobs_claim_groups(
    worker text,
    settings jobs_queues,
    max_jobs int,
    lease_until timestamptz,
    job_types text[],
    takes_crashed boolean
) returns bigint[]
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
declare
    c_rounds constant int := 4;
    c_max_groups constant int := 1000;
    c_max_turns constant int := 2000;
    -- The end that frees a place inserts a turn; but where that end was under way when a worker
    -- found the group full, no signal may tell the worker. So a full group is looked at again after
    -- 0.1 s, and then after as long as it has been full.
    c_while_full constant interval := '0.1 seconds';
    c_while_full_at_most constant interval := '10 seconds';
    -- Another session has locked a row, or this worker may not take a suspect now.
    c_while_refused constant interval := '0.1 seconds';
    c_between_marks constant interval := '1 second';
    c_locks constant int := 'jobs'::regclass::oid::int;
    q constant text := settings.queue;
    v_limit constant int := settings.max_running_per_group;
    v_rate constant int := settings.group_rate_count;
    v_period constant interval := settings.group_rate_period;
    v_in_order constant boolean := settings.in_order;
    v_per_visit constant int := greatest(least(coalesce(v_limit, 4), 4), 1);
    v_types text[] := coalesce(job_types, _jobs_turn_types(q));
    v_left int := max_jobs;
    v_now timestamptz;
    v_from jobs_turns_from;
    v_want int := (max_jobs + v_per_visit - 1) / v_per_visit;
    v_seen int;
    v_groups text[];
    v_turns timestamptz[];
    v_full_since timestamptz[];
    v_share int;
    -- Of each job that was read: its id, the place of its group in v_groups, and so on.
    v_ids bigint[];
    v_places int[];
    v_of_types text[];
    v_ranks int[];
    v_run_ats timestamptz[];
    v_frees int[];
    v_tokens int[];
    v_chosen bigint[];
    v_taken bigint[];
    v_claimed bigint[] := '{}';
    v_foreign text[];
    v_takes_suspect boolean := false;
    v_suspect bigint;
begin
    perform _jobs_check_isolation();
    if takes_crashed then
        takes_crashed := not _jobs_holds_crashed(worker, only_suspects => true);
        v_takes_suspect := takes_crashed and not _jobs_holds_crashed(worker, only_suspects => false);
    end if;
    select f.* into v_from from jobs_turns_from f where f.queue = q;
    if v_from.marked_at > clock_timestamp() then
        perform _jobs_raise_turns_from(q);
        v_from := null;
    end if;
    for v_round in 1..c_rounds loop
        v_now := clock_timestamp();
        with due as materialized (
            select t.group_key, t.turn_at
            from unnest(v_types) k(job_type)
            cross join lateral (
                select t.group_key, t.turn_at from jobs_turns t
                where t.queue = q and t.job_type = k.job_type
                    and t.turn_at >= coalesce(v_from.turns_from, '-infinity')
                    and t.turn_at <= v_now
                    and pg_try_advisory_xact_lock(c_locks, hashtext(q || chr(1) || t.group_key) & 2047)
                order by t.turn_at
                limit v_want
            ) t
            order by t.turn_at
            limit v_want
        ), named as (
            select d.group_key, min(d.turn_at) as turn_at, count(*) as turns
            from due d group by d.group_key
        )
        select array_agg(n.group_key order by n.turn_at), array_agg(n.turn_at order by n.turn_at),
            sum(n.turns)
        into v_groups, v_turns, v_seen
        from named n;
        exit when v_groups is null;

        with gone as (
            delete from jobs_turns t
            where t.ctid = any (array(
                select d.ctid from unnest(v_groups) g(group_key)
                cross join lateral (
                    select d.ctid from jobs_turns d
                    where d.queue = q and d.group_key = g.group_key
                    limit c_max_turns
                ) d
                limit c_max_turns))
            returning t.group_key, t.full_since
        )
        select array_agg(s.full_since order by s.place) into v_full_since
        from (
            select g.place, case when count(*) = count(o.full_since) then min(o.full_since) end
                as full_since
            from unnest(v_groups) with ordinality g(group_key, place)
            left join gone o on o.group_key = g.group_key
            group by g.place
        ) s
        where v_limit is not null;

        v_share := (v_left + cardinality(v_groups) - 1) / cardinality(v_groups);
        with recursive visited as materialized (
            select g.place::int as place, g.group_key,
                case when v_limit is not null then v_limit - (
                    select count(*) from (
                        select from jobs r
                        where r.queue = q and r.group_key = g.group_key
                            and r.status = 'processing' and r.finished_at is null
                        -- In the order of ix_jobs_group, or the planner may take ix_jobs_status.
                        order by r.job_type, _jobs_rank(r.attempt, r.priority), r.run_at, r.id
                        limit v_limit) r)::int end as free,
                case when v_rate is not null then coalesce(
                    (select _jobs_starts_room(s.moments, s.counts, v_rate, v_period, v_now)
                     from jobs_starts s where s.queue = q and s.group_key = g.group_key),
                    v_rate) end as tokens
            from unnest(v_groups) with ordinality g(group_key, place)
        ), room as (
            select v.*, greatest(least(v_share, v.free, v.tokens), 0) as jobs from visited v
        ), level(place, group_key, free, tokens, jobs, job_type, rank) as (
            select r.*, f.job_type, f.rank
            from room r
            cross join lateral (
                select j.job_type, _jobs_rank(j.attempt, j.priority) as rank from jobs j
                where j.queue = q and j.group_key = r.group_key
                    and j.status = 'pending' and j.finished_at is null
                order by j.job_type, _jobs_rank(j.attempt, j.priority), j.run_at, j.id
                limit 1
            ) f
            union all
            select l.place, l.group_key, l.free, l.tokens, l.jobs, n.job_type, n.rank
            from level l
            cross join lateral (
                select j.job_type, _jobs_rank(j.attempt, j.priority) as rank from jobs j
                where j.queue = q and j.group_key = l.group_key
                    and j.status = 'pending' and j.finished_at is null
                    and (j.job_type, _jobs_rank(j.attempt, j.priority)) > (l.job_type, l.rank)
                order by j.job_type, _jobs_rank(j.attempt, j.priority), j.run_at, j.id
                limit 1
            ) n
        ), first as (
            select l.place, l.free, l.tokens, l.jobs, l.job_type, l.rank, f.id, f.run_at,
                f.run_at <= v_now and l.job_type = any (v_types) and (
                    f.crash_count = 0 or v_takes_suspect
                    or takes_crashed and not _jobs_is_suspect(f.crash_count, f.max_retries)
                ) as is_allowed
            from level l
            cross join lateral (
                select j.id, j.run_at, j.crash_count, j.max_retries from jobs j
                where j.queue = q and j.group_key = l.group_key
                    and j.status = 'pending' and j.finished_at is null
                    and j.job_type = l.job_type and _jobs_rank(j.attempt, j.priority) = l.rank
                order by j.run_at, j.id
                limit l.jobs + 1
            ) f
        ), ranked as (
            select f.*,
                -- In order, the first job that may not start holds back the others: also one that
                -- waits for its retry, but not one that has never begun and is due later.
                row_number() over w as n,
                count(*) filter (where not f.is_allowed) over w as blocked
            from first f
            window w as (partition by f.place order by case
                when v_in_order then f.rank >= 10 and f.run_at > v_now
                else not f.is_allowed end, f.rank, f.run_at, f.id rows unbounded preceding)
        )
        select array_agg(r.id), array_agg(r.place), array_agg(r.job_type), array_agg(r.rank),
            array_agg(r.run_at), array_agg(r.free), array_agg(r.tokens),
            (array_agg(r.id) filter (where r.n <= r.jobs and r.blocked = 0))[:v_left]
        into v_ids, v_places, v_of_types, v_ranks, v_run_ats, v_frees, v_tokens, v_chosen
        from (select r.* from ranked r order by r.place, r.n) r;

        if v_takes_suspect then
            -- A suspect comes alone, so that nothing else is lost with its worker's next crash.
            v_suspect := (select j.id from jobs j
                          where j.id = any (v_chosen)
                              and _jobs_is_suspect(j.crash_count, j.max_retries)
                          order by array_position(v_chosen, j.id)
                          limit 1);
            v_chosen := case when v_suspect is null then v_chosen else array[v_suspect] end;
        end if;
        if v_in_order and v_chosen is not null then
            -- A job whose row another session has locked holds back those behind it.
            v_taken := array(
                select j.id from jobs j
                where j.id = any (v_chosen) and j.status = 'pending'
                for no key update skip locked);
            v_chosen := array(
                select c.id
                from (
                    select u.id, bool_and(u.id = any (v_taken))
                        over (partition by u.place order by u.n) as may_start
                    from unnest(v_ids, v_places) with ordinality u(id, place, n)
                    where u.id = any (v_chosen)
                ) c
                where c.may_start);
        end if;
        -- The status after the lock: with it in the condition the planner may take another index.
        with locked as materialized (
            select j.id, j.status from jobs j
            where j.id = any (v_chosen)
            for no key update skip locked
        ), claimed as (
            update jobs j
            set status = 'processing',
                worker = _jobs_claim_groups.worker,
                attempt = least(j.attempt, 2147483646) + 1,
                lease_until = _jobs_claim_groups.lease_until,
                updated_at = v_now,
                started_at = v_now
            where j.id = any (array(select l.id from locked l where l.status = 'pending'))
            returning j.id
        )
        select coalesce(array_agg(c.id), '{}') into v_taken from claimed c;
        v_left := v_left - cardinality(v_taken);
        v_claimed := v_claimed || v_taken;
        if takes_crashed and v_taken <> '{}' then
            takes_crashed := not _jobs_holds_crashed(worker, only_suspects => true);
            v_takes_suspect := takes_crashed
                and not _jobs_holds_crashed(worker, only_suspects => false);
        end if;
        if v_rate is not null and v_taken <> '{}' then
            perform _jobs_spend(q, v_groups[t.place], t.starts::int, v_period)
            from (select u.place, count(*) as starts
                  from unnest(v_ids, v_places) u(id, place)
                  where u.id = any (v_taken)
                  group by u.place) t;
        end if;

        with read as materialized (
            select u.*, u.id = any (v_taken) as was_taken
            from unnest(v_ids, v_places, v_of_types, v_ranks, v_run_ats, v_frees, v_tokens)
                u(id, place, job_type, rank, run_at, free, tokens)
        ), visited as (
            select r.place, count(*) filter (where r.was_taken) as jobs from read r group by r.place
        ), head as (
            -- In order, only the type of the first job gets a turn: the others wait for that job.
            select distinct on (r.place, case when v_in_order then '' else r.job_type end) r.*
            from read r
            where not r.was_taken
            order by r.place, case when v_in_order then '' else r.job_type end,
                r.run_at > v_now and not (v_in_order and r.rank < 10),
                case when v_in_order and not (r.run_at > v_now and r.rank >= 10) then r.rank end,
                r.run_at, r.id
        ), turn as (
            insert into jobs_turns (queue, group_key, job_type, turn_at, full_since)
            select q, v_groups[h.place], h.job_type, greatest(
                case
                    when h.run_at > v_now then greatest(h.run_at, clock_timestamp())
                    when v.jobs > 0 then clock_timestamp()
                    when v_left > 0 and h.job_type = any (v_types)
                        then clock_timestamp() + c_while_refused
                    else v_turns[h.place] end,
                case when h.free <= v.jobs then clock_timestamp() + least(
                    greatest(v_now - v_full_since[h.place], c_while_full), c_while_full_at_most) end,
                case when h.tokens <= v.jobs then _jobs_room_at(
                    q, v_groups[h.place], v_rate, v_period, clock_timestamp()) end),
                case when h.free <= v.jobs then coalesce(v_full_since[h.place], v_now) end
            from head h
            join visited v on v.place = h.place
            returning job_type, turn_at
        )
        select array_agg(distinct t.job_type) into v_foreign
        from turn t
        where t.turn_at <= clock_timestamp() and t.job_type <> all (v_types);
        -- The workers of these types may have read a later turn.
        if v_foreign is not null then
            perform _jobs_signal(q, v_now, jobs => cardinality(v_foreign), job_types => v_foreign);
        end if;
        exit when v_left = 0 or v_seen < v_want and v_taken = '{}';
        v_want := least(case when v_taken = '{}' then v_want * 4
                             else (v_left + v_per_visit - 1) / v_per_visit end, c_max_groups);
    end loop;
    if v_from.marked_at is null or v_from.marked_at < v_now - c_between_marks then
        perform _jobs_raise_turns_from(q);
    end if;
    return v_claimed;
end
$$;

comment on function _jobs_claim_groups is
    'internal: claims jobs of the groups of a queue whose turn has come; their ids';
