-- Before anything is changed: each object of this schema that has one of our names must be ours.
do $$
declare
    v_schema constant text := current_setting('pgjobs.schema');
    v_jobs constant regclass := to_regclass(format('%I.jobs', v_schema));
    v_problem text;
    v_owner text;
begin
    if not exists (select from pg_namespace n
                   where n.nspname = v_schema and has_schema_privilege(n.oid, 'usage')) then
        raise exception 'the schema does not exist, or you may not use it'
            using errcode = 'JQ005', hint = 'Create it or grant usage.';
    end if;
    -- A channel's name has at most 63 bytes: 58 bytes for the schema leave room for `.jobs`.
    if octet_length(v_schema) > 58 then
        raise exception 'the schema''s name has more than 58 bytes: %', v_schema
            using errcode = 'JQ003', hint = 'Choose a shorter name by --schema.';
    end if;

    select format('%s %I.%I', case c.relkind
                when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
                when 'm' then 'materialized view' when 'i' then 'index' when 'S' then 'sequence'
                when 'f' then 'foreign table' else 'relation' end, v_schema, c.relname)
    into v_problem
    from pg_class c
    join (values
        ('jobs', 'r', '{id, queue, job_type, status, attempt, lease_until, crash_count,
            unique_scope}'::text[]),
        ('jobs_queues', 'r', '{queue, paused_at, max_running, has_groups}'),
        ('jobs_turns', 'r', '{queue, group_key, job_type, turn_at}'),
        ('jobs_turns_from', 'r', '{queue, turns_from, marked_at, marked_xid}'),
        ('jobs_starts', 'r', '{queue, group_key, moments, counts}'),
        ('jobs_attempts', 'r', '{job_id, attempt, outcome, error_kind}'),
        ('jobs_ends', 'r', '{noted_at, ends}'),
        ('jobs_history', 'r', '{span, starts_at, queue, job_type, outcome, waits, runs}'),
        ('jobs_totals', 'r', '{queue, job_type, outcome, jobs, counted_at}'),
        ('jobs_durations', 'r', '{queue, job_type, waits, runs}'),
        ('jobs_audit', 'r', '{id, at, db_role, actor, action, filters}'),
        ('jobs_flows', 'r', '{job_id, on_parent_failed, is_open, parents}'),
        ('jobs_flow_edges', 'r', '{parent_id, child_id, is_attached}'),
        ('jobs_flow_changes', 'r', '{child_id, parents, completed, failed}'),
        ('jobs_batches', 'v', '{batch_id, total, open}'),
        ('jobs_watched', 'r', '{job_id, watched_until}'),
        ('jobs_workers', 'r', '{worker, queues, concurrency, polling_key}'),
        ('jobs_worker_ticks', 'r', '{worker, seen_at}'),
        ('jobs_schedules', 'r', '{name, job_type, cron, every, next_at, paused_at, declared}'),
        ('jobs_retention', 'r', '{status, job_type, keep_for, next_at, declared}'),
        ('jobs_stats', 'v', '{queue, job_type, status}'),
        ('jobs_list', 'v', '{id, queue, job_type, status}'),
        ('jobs_schedule_list', 'v', '{name, job_type, cron, every, next_at}')
    ) as ours (relname, relkind, columns) using (relname)
    where c.relnamespace = quote_ident(v_schema)::regnamespace
        and (c.relkind::text <> ours.relkind
            or not ours.columns <@ array(
                select a.attname::text from pg_attribute a
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped))
    limit 1;

    if v_problem is null then
        -- `create index if not exists` would take another table's index of that name for ours.
        select format('index %I.%I', v_schema, c.relname)
        into v_problem
        from pg_class c
        left join pg_index i on i.indexrelid = c.oid
        where c.relnamespace = quote_ident(v_schema)::regnamespace
            and c.relname in ('ix_jobs_claim', 'ix_jobs_crashed', 'ix_jobs_expires',
                'ix_jobs_unique_key', 'ix_jobs_job_type', 'ix_jobs_status',
                'ix_jobs_reference_id', 'ix_jobs_reference',
                'ix_jobs_reference_key', 'ix_jobs_group', 'ix_jobs_schedules_due',
                'ix_jobs_turns_due', 'ix_jobs_turns_group', 'ix_jobs_starts_until',
                'ix_jobs_queues_ends', 'ix_jobs_watched_job', 'ix_jobs_watched_until',
                'ix_jobs_flow_edges_child', 'ix_jobs_flow_edges_loose', 'ix_jobs_flow_changes_child',
                'ix_jobs_flows_counted', 'ix_jobs_flows_keeping', 'ix_jobs_attempts_ended')
            and i.indrelid is distinct from case c.relname
                when 'ix_jobs_schedules_due' then to_regclass(format('%I.jobs_schedules', v_schema))
                when 'ix_jobs_turns_due' then to_regclass(format('%I.jobs_turns', v_schema))
                when 'ix_jobs_turns_group' then to_regclass(format('%I.jobs_turns', v_schema))
                when 'ix_jobs_starts_until' then to_regclass(format('%I.jobs_starts', v_schema))
                when 'ix_jobs_queues_ends' then to_regclass(format('%I.jobs_queues', v_schema))
                when 'ix_jobs_watched_job' then to_regclass(format('%I.jobs_watched', v_schema))
                when 'ix_jobs_watched_until' then to_regclass(format('%I.jobs_watched', v_schema))
                when 'ix_jobs_attempts_ended' then to_regclass(format('%I.jobs_attempts', v_schema))
                when 'ix_jobs_flow_edges_child' then to_regclass(format('%I.jobs_flow_edges', v_schema))
                when 'ix_jobs_flow_edges_loose' then to_regclass(format('%I.jobs_flow_edges', v_schema))
                when 'ix_jobs_flow_changes_child'
                    then to_regclass(format('%I.jobs_flow_changes', v_schema))
                when 'ix_jobs_flows_counted' then to_regclass(format('%I.jobs_flows', v_schema))
                when 'ix_jobs_flows_keeping' then to_regclass(format('%I.jobs_flows', v_schema))
                else v_jobs end
        limit 1;
    end if;

    if v_problem is null and v_jobs is null then
        -- The owner of a domain decides what the columns of that domain may hold.
        select format('type %I.%I', v_schema, t.typname)
        into v_problem
        from pg_type t
        where t.typnamespace = quote_ident(v_schema)::regnamespace
            and t.typname in ('jobs_reference_type', 'jobs_reference_key',
                'jobs_unique_key', 'jobs_unique_scope', 'jobs_priority', 'jobs_count',
                'jobs_crash_count', 'jobs_moment', 'jobs_backoff', 'jobs_group_key',
                'jobs_headers', 'jobs_parent')
        limit 1;
    end if;

    if v_problem is not null then
        raise exception 'the % is not of pgjobs, and nothing was changed: choose another'
            ' schema, by --schema (or psql -v schema=...)', v_problem
            using errcode = 'JQ005';
    end if;

    -- The owner of a function may change it later, and the owner of a table may put a trigger on
    -- it: that code then runs with the rights of the installer. So objects of another role are
    -- refused.
    select o.kind || ' ' || o.name, pg_get_userbyid(o.owner)
    into v_problem, v_owner
    from (
        select 'function' as kind, p.oid::regprocedure::text as name, p.proowner as owner
        from pg_proc p
        join json_to_recordset(current_setting('pgjobs.signatures')::json) as s (name text)
            on s.name = p.proname
        where p.pronamespace = quote_ident(v_schema)::regnamespace
        union all
        select case c.relkind when 'v' then 'view' else 'table' end, c.oid::regclass::text,
            c.relowner
        from pg_class c
        where c.relnamespace = quote_ident(v_schema)::regnamespace
            and c.relname in ('jobs', 'jobs_queues', 'jobs_workers', 'jobs_worker_ticks',
                'jobs_schedules', 'jobs_retention', 'jobs_turns', 'jobs_turns_from', 'jobs_starts',
                'jobs_attempts', 'jobs_audit', 'jobs_ends', 'jobs_history', 'jobs_totals',
                'jobs_durations', 'jobs_watched', 'jobs_flows', 'jobs_flow_edges',
                'jobs_flow_changes', 'jobs_batches', 'jobs_stats', 'jobs_list', 'jobs_schedule_list',
                'pgjobs_migrations', 'pgjobs_migrations_log', 'pgjobs_migrations_lock',
                'pgjobs_migrations_version')
    ) o
    where not pg_has_role(o.owner, current_user, 'member')
    order by 1
    limit 1;
    if v_problem is not null then
        raise exception 'the % belongs to %, and nothing was changed: install as that role, or'
            ' choose another schema, by --schema (or psql -v schema=...)',
            v_problem, quote_ident(v_owner)
            using errcode = 'JQ005', hint = 'For example: PGOPTIONS=''-c role=...'' pgjobs migrate';
    end if;
end
$$;
