-- Install, upgrade or repair pgjobs by psql alone, as often as you like:
--
--     psql -v schema=public -f sql/install.sql
--
-- Without the variable the schema is public. Everything happens in one transaction.
-- `pgjobs migrate` runs the files named here too, in this order, and keeps a ledger of the
-- migrations; `pgjobs sql` prints them as one script. `make contents` keeps the lists complete.

\set ON_ERROR_STOP on
\set QUIET on
\if :{?schema}
\else
    \set schema public
\endif

-- Read committed: after waiting for another installer this one must see what that one has done.
begin isolation level read committed;
-- Until the path is the schema, each name without a schema is one of PostgreSQL's.
set local search_path to pg_catalog, pg_temp;
-- install/session.sql
-- While we wait for a table's lock, its queries queue up behind us. So wait 5 s at most.
set local lock_timeout = '5s';
-- Hides "already exists, skipping": a second run is meant to be harmless.
set local client_min_messages = warning;
-- Functions may call each other, whatever the order of their files.
set local check_function_bodies = off;
-- What the files rely on, whatever the role or the database has as its default. The files are
-- UTF-8. sql/install/signatures.sql lists names without quotes, and intervals in this style.
-- Functions keep their path as it is quoted now.
set local client_encoding = utf8;
set local quote_all_identifiers = off;
set local standard_conforming_strings = on;
set local timezone = 'UTC';
set local datestyle = 'ISO, MDY';
set local intervalstyle = postgres;


-- Two installers at the same moment: the second waits here, then installs the same again.
-- \gset keeps psql from printing the results.
set local lock_timeout = '60s';
select pg_advisory_xact_lock(hashtextextended('pgjobs.install.' || :'schema', 0)) as locked
\gset pgjobs_
set local lock_timeout = '5s';

-- Looked up, since `create schema if not exists` needs the right to create one in any case.
select not exists (select from pg_namespace where nspname = :'schema') as missing \gset pgjobs_
\if :pgjobs_missing
    create schema :"schema";
\endif
select set_config('pgjobs.schema', :'schema', true) as schema \gset pgjobs_

-- install/signatures.sql
-- The functions and views, as they have to be after an installation: name, result, arguments (or
-- columns). `make contents` writes the list from what sql/functions and sql/views make.
-- A name that a release gave up stays above the generated lines as ('jobs_gone', null, null), so
-- that replace.sql drops it.
do $signatures$
begin
    perform set_config('pgjobs.signatures', json_agg(s)::text, true)
    from (values
        -- begin of the generated list
        ('_jobs_advisory_key', $$bigint$$, $$kind text, name text$$),
        ('_jobs_after', $$timestamp with time zone$$, $$
            moment timestamp with time zone, delay interval
        $$),
        ('_jobs_ahead', $$record$$, $$
            job jobs, max_jobs integer, OUT jobs integer, OUT higher integer, OUT highest integer
        $$),
        ('_jobs_audit_expire', $$bigint$$, $$max_rows integer$$),
        ('_jobs_audit_note', $$void$$, $$
            action text, job_id bigint DEFAULT NULL::bigint, filters jsonb DEFAULT NULL::jsonb,
            jobs bigint DEFAULT NULL::bigint, reason text DEFAULT NULL::text
        $$),
        ('_jobs_audit_search', $$SETOF jobs_audit$$, $$
            actions text[] DEFAULT NULL::text[], who text DEFAULT NULL::text,
            job_id bigint DEFAULT NULL::bigint, within interval DEFAULT NULL::interval,
            max_rows integer DEFAULT 20, before bigint DEFAULT NULL::bigint,
            max_read integer DEFAULT 100000
        $$),
        ('_jobs_bucket', $$integer$$, $$seconds double precision$$),
        ('_jobs_check_batch', $$void$$, $$
            worker text, job_ids bigint[], attempts integer[], others integer[]
        $$),
        ('_jobs_check_claim', $$void$$, $$
            worker text, queues text[] DEFAULT NULL::text[],
            max_jobs integer DEFAULT NULL::integer, lease interval DEFAULT NULL::interval,
            job_types text[] DEFAULT NULL::text[]
        $$),
        ('_jobs_check_failure', $$void$$, $$
            errors text[], retries boolean[], retry_ins interval[],
            error_kinds text[] DEFAULT NULL::text[]
        $$),
        ('_jobs_check_filters', $$void$$, $$filters integer$$),
        ('_jobs_check_flow', $$void$$, $$
            depends_on bigint[], on_parent_failed text, on_conflict text
        $$),
        ('_jobs_check_ids', $$void$$, $$$$),
        ('_jobs_check_isolation', $$void$$, $$$$),
        ('_jobs_check_job', $$void$$, $$
            job_type text, queue text, priority integer, run_at timestamp with time zone,
            reference_type text, max_retries integer, unique_key text, unique_scope text,
            backoff interval[], reference_key text, group_key text, headers jsonb,
            expires_at timestamp with time zone
        $$),
        ('_jobs_check_job_ids', $$void$$, $$job_ids bigint[]$$),
        ('_jobs_check_limits', $$void$$, $$
            max_running integer, max_running_per_group integer, rate_count integer,
            rate_period interval, group_rate_count integer, group_rate_period interval
        $$),
        ('_jobs_check_max_jobs', $$void$$, $$max_jobs integer$$),
        ('_jobs_check_queue', $$void$$, $$queue text$$),
        ('_jobs_check_refs', $$void$$, $$jobs jsonb$$),
        ('_jobs_check_schedule', $$void$$, $$
            name text, cron text, every interval, timezone text, missed text,
            missed_within interval, overlap text, starts_at timestamp with time zone,
            ends_at timestamp with time zone
        $$),
        ('_jobs_check_statuses', $$void$$, $$statuses text[], allowed text[]$$),
        ('_jobs_check_timezone', $$void$$, $$timezone text$$),
        ('_jobs_check_unique', $$void$$, $$
            unique_key text, unique_scope text, on_conflict text, unique_for interval,
            max_wait interval
        $$),
        ('_jobs_claim_bound', $$
            TABLE(run_at timestamp with time zone, id bigint)
        $$, $$
            queue text, priority integer, job_types text[], due timestamp with time zone,
            after_run_at timestamp with time zone, after_id bigint, chunk integer, wanted integer
        $$),
        ('_jobs_claim_groups', $$bigint[]$$, $$
            worker text, settings jobs_queues, max_jobs integer,
            lease_until timestamp with time zone, job_types text[], takes_crashed boolean
        $$),
        ('_jobs_claimed', $$SETOF jobs$$, $$
            worker text, job_id bigint, attempt integer
        $$),
        ('_jobs_complete_and_delete', $$SETOF bigint$$, $$
            worker text, job_ids bigint[], attempts integer[], results jsonb[]
        $$),
        ('_jobs_complete_uncounted', $$SETOF bigint$$, $$
            worker text, job_ids bigint[], attempts integer[], results jsonb[],
            keep boolean DEFAULT true
        $$),
        ('_jobs_count_completed', $$void$$, $$job_ids bigint[]$$),
        ('_jobs_count_ends', $$void$$, $$job_ids bigint[]$$),
        ('_jobs_counts', $$
            TABLE(queue text, job_type text, state text, jobs bigint, capped boolean,
            oldest_due interval, oldest_throttled interval)
        $$, $$
            cap integer DEFAULT 10000, due_only boolean DEFAULT false
        $$),
        ('_jobs_counts_other', $$
            TABLE(queue text, job_type text, state text, jobs bigint, capped boolean)
        $$, $$cap integer, max_groups integer$$),
        ('_jobs_counts_pending', $$
            TABLE(queue text, job_type text, due bigint, due_capped boolean,
            oldest timestamp with time zone, later bigint, retrying bigint, later_capped boolean)
        $$, $$
            cap integer, max_groups integer, max_rows bigint, due_only boolean
        $$),
        ('_jobs_cron_field', $$integer[]$$, $$
            field text, called text, lowest integer, highest integer,
            names text[] DEFAULT '{}'::text[]
        $$),
        ('_jobs_cron_fields', $$record$$, $$
            cron text, OUT minutes integer[], OUT hours integer[], OUT days integer[],
            OUT months integer[], OUT weekdays integer[], OUT is_at_fixed_times boolean,
            OUT needs_both_days boolean
        $$),
        ('_jobs_cron_next', $$timestamp with time zone$$, $$
            cron text, after timestamp with time zone, timezone text
        $$),
        ('_jobs_declared', $$jsonb$$, $$
            app text, definition jsonb, at timestamp with time zone, declared jsonb
        $$),
        ('_jobs_doctor_flows', $$
            TABLE(check_name text, verdict text, detail text, advice text)
        $$, $$$$),
        ('_jobs_doctor_held', $$
            TABLE(check_name text, verdict text, detail text, advice text)
        $$, $$$$),
        ('_jobs_doctor_history', $$
            TABLE(check_name text, verdict text, detail text, advice text)
        $$, $$$$),
        ('_jobs_doctor_leases', $$
            TABLE(check_name text, verdict text, detail text, advice text)
        $$, $$$$),
        ('_jobs_doctor_limits', $$
            TABLE(check_name text, verdict text, detail text, advice text)
        $$, $$$$),
        ('_jobs_doctor_notify', $$
            TABLE(check_name text, verdict text, detail text, advice text)
        $$, $$$$),
        ('_jobs_doctor_retention', $$
            TABLE(check_name text, verdict text, detail text, advice text)
        $$, $$many bigint DEFAULT 1000000$$),
        ('_jobs_doctor_schedules', $$
            TABLE(check_name text, verdict text, detail text, advice text)
        $$, $$$$),
        ('_jobs_doctor_schema', $$
            TABLE(check_name text, verdict text, detail text, advice text)
        $$, $$$$),
        ('_jobs_doctor_vacuum', $$
            TABLE(check_name text, verdict text, detail text, advice text)
        $$, $$
            held_for interval DEFAULT '00:05:00'::interval
        $$),
        ('_jobs_doctor_workers', $$
            TABLE(check_name text, verdict text, detail text, advice text)
        $$, $$$$),
        ('_jobs_end_attempt', $$jobs$$, $$
            job_id bigint, error text DEFAULT NULL::text, retry boolean DEFAULT NULL::boolean,
            retry_in interval DEFAULT NULL::interval,
            lost_at timestamp with time zone DEFAULT NULL::timestamp with time zone,
            error_kind text DEFAULT NULL::text
        $$),
        ('_jobs_end_attempts', $$
            TABLE(id bigint, status text, retry_count integer, crash_count integer,
            due_in interval)
        $$, $$
            worker text, job_ids bigint[], attempts integer[], errors text[], retries boolean[],
            retry_ins interval[], crashed boolean DEFAULT false,
            error_kinds text[] DEFAULT NULL::text[]
        $$),
        ('_jobs_ends', $$SETOF jobs_history$$, $$noted jobs_ends[]$$),
        ('_jobs_enqueue_bound', $$SETOF jobs$$, $$
            job_type text, payload jsonb, queue text, priority integer,
            run_at timestamp with time zone, reference_type text, reference_id bigint,
            max_retries integer, unique_key text, unique_scope text, backoff interval[],
            reference_key text, group_key text, headers jsonb,
            expires_at timestamp with time zone, depends_on bigint[], on_parent_failed text,
            batch_id bigint, on_conflict text, unique_for interval, max_wait interval,
            is_batch boolean DEFAULT false
        $$),
        ('_jobs_enqueue_flow', $$SETOF jobs$$, $$jobs jsonb$$),
        ('_jobs_enqueue_together', $$SETOF jobs$$, $$
            jobs jsonb, is_plain boolean DEFAULT false
        $$),
        ('_jobs_error_line', $$text$$, $$error text$$),
        ('_jobs_expire', $$bigint$$, $$max_jobs integer$$),
        ('_jobs_failures', $$
            TABLE(key text, job_type text, error_kind text, error_line text, attempts bigint,
            jobs bigint, failed bigint, retrying bigint, first_at timestamp with time zone,
            last_at timestamp with time zone, job_ids bigint[], failed_ids bigint[],
            retrying_ids bigint[])
        $$, $$
            within interval,
            before timestamp with time zone DEFAULT NULL::timestamp with time zone,
            only_type text DEFAULT NULL::text, only_queue text DEFAULT NULL::text,
            by_error boolean DEFAULT true, max_groups integer DEFAULT 100,
            max_ids integer DEFAULT 3, failure_key text DEFAULT NULL::text,
            max_read integer DEFAULT 5000
        $$),
        ('_jobs_filters', $$jsonb$$, $$
            job_ids bigint[], job_types text[], queues text[], group_keys text[],
            reference_type text, reference_id bigint, reference_key text, batch_id bigint,
            created_before timestamp with time zone, failed_since timestamp with time zone
        $$),
        ('_jobs_find', $$jobs$$, $$job_id bigint$$),
        ('_jobs_flag_groups', $$void$$, $$queues text[]$$),
        ('_jobs_flow_attach', $$bigint$$, $$max_edges integer$$),
        ('_jobs_flow_cancel', $$bigint$$, $$job_id bigint, reason text$$),
        ('_jobs_flow_count', $$
            TABLE(counted bigint, is_cascading boolean)
        $$, $$max_children integer$$),
        ('_jobs_flow_deleted', $$void$$, $$job_ids bigint[]$$),
        ('_jobs_flow_ended', $$void$$, $$job_ids bigint[]$$),
        ('_jobs_flow_join', $$void$$, $$batch_ids bigint[], depends_on bigint[]$$),
        ('_jobs_flow_pending', $$boolean$$, $$$$),
        ('_jobs_flow_recount', $$void$$, $$child_id bigint$$),
        ('_jobs_flow_reopened', $$void$$, $$job_ids bigint[]$$),
        ('_jobs_flow_resolve', $$bigint$$, $$max_children integer$$),
        ('_jobs_flow_tell', $$void$$, $$is_end boolean DEFAULT true$$),
        ('_jobs_flow_tidy', $$bigint$$, $$max_flows integer$$),
        ('_jobs_flow_waiting', $$bigint[]$$, $$job_ids bigint[]$$),
        ('_jobs_forget', $$void$$, $$job_ids bigint[]$$),
        ('_jobs_free_places', $$void$$, $$job_ids bigint[]$$),
        ('_jobs_gap_end', $$timestamp with time zone$$, $$
            shown timestamp without time zone, timezone text
        $$),
        ('_jobs_give_way', $$boolean$$, $$holder jobs, is_replaced boolean$$),
        ('_jobs_group_types', $$text[]$$, $$queue text, group_key text$$),
        ('_jobs_groups', $$
            TABLE(queue text, group_key text, job_type text, due bigint, startable bigint,
            due_capped boolean, oldest timestamp with time zone, later bigint, retrying bigint,
            later_capped boolean, held_until timestamp with time zone, is_more boolean)
        $$, $$
            cap integer, max_groups integer, max_rows bigint, due_only boolean
        $$),
        ('_jobs_groups_without_turn', $$
            TABLE(queue text, group_key text, job_type text)
        $$, $$max_groups integer$$),
        ('_jobs_held_back', $$
            TABLE(queue text, group_key text, told text)
        $$, $$
            queues text[] DEFAULT '{}'::text[], group_keys text[] DEFAULT '{}'::text[]
        $$),
        ('_jobs_history_add', $$boolean$$, $$
            after interval DEFAULT '00:00:00'::interval, max_bytes integer DEFAULT 3000000
        $$),
        ('_jobs_history_add_alone', $$void$$, $$$$),
        ('_jobs_history_add_durations', $$void$$, $$ended jobs_history[]$$),
        ('_jobs_history_add_noted', $$void$$, $$noted jobs_ends[]$$),
        ('_jobs_history_add_spans', $$void$$, $$ended jobs_history[]$$),
        ('_jobs_history_add_totals', $$void$$, $$ended jobs_history[]$$),
        ('_jobs_history_tidy', $$void$$, $$$$),
        ('_jobs_holds_crashed', $$boolean$$, $$worker text, only_suspects boolean$$),
        ('_jobs_ids_behind', $$text$$, $$$$),
        ('_jobs_insert_turns', $$boolean$$, $$job_ids bigint[]$$),
        ('_jobs_is_any_due', $$boolean$$, $$
            queue text, priority integer, job_types text[], since timestamp with time zone,
            until timestamp with time zone
        $$),
        ('_jobs_is_batch', $$boolean$$, $$
            worker text, job_ids bigint[], attempts integer[], others integer[]
        $$),
        ('_jobs_is_locked', $$boolean$$, $$key bigint$$),
        ('_jobs_is_needed', $$boolean$$, $$job_id bigint$$),
        ('_jobs_is_new', $$boolean$$, $$job_id bigint$$),
        ('_jobs_is_polled', $$boolean$$, $$queue text$$),
        ('_jobs_is_suspect', $$boolean$$, $$crash_count integer, max_retries integer$$),
        ('_jobs_key_holder', $$SETOF jobs$$, $$job_type text, unique_key text$$),
        ('_jobs_key_successor', $$bigint$$, $$job jobs$$),
        ('_jobs_keyed', $$record$$, $$
            job_ids bigint[], OUT ids bigint[], OUT keys text[]
        $$),
        ('_jobs_limits_declare', $$SETOF text$$, $$
            app text, limits jsonb, is_newest boolean DEFAULT false
        $$),
        ('_jobs_limits_diff', $$
            TABLE(name text, verdict text, definition jsonb, declared jsonb,
            declared_at timestamp with time zone, is_changed_by_hand boolean, made jsonb,
            current jsonb)
        $$, $$app text, limits jsonb$$),
        ('_jobs_limits_of', $$jsonb$$, $$q jobs_queues$$),
        ('_jobs_limits_undeclare', $$void$$, $$queue text$$),
        ('_jobs_local_moments', $$timestamp with time zone[]$$, $$
            shown timestamp without time zone, timezone text
        $$),
        ('_jobs_lock', $$jobs$$, $$job_id bigint$$),
        ('_jobs_lock_crashed', $$bigint[]$$, $$
            queue text, priority integer, job_types text[], due timestamp with time zone,
            max_jobs integer
        $$),
        ('_jobs_lock_fenced', $$jobs$$, $$
            job_id bigint, worker text, attempt integer
        $$),
        ('_jobs_lock_fenced_many', $$bigint[]$$, $$
            worker text, job_ids bigint[], attempts integer[], wait boolean DEFAULT true
        $$),
        ('_jobs_lock_matching', $$bigint[]$$, $$
            statuses text[], job_ids bigint[], job_types text[], queues text[], group_keys text[],
            reference_type text, reference_id bigint, reference_key text, batch_id bigint,
            created_before timestamp with time zone, failed_since timestamp with time zone,
            max_jobs integer, condition text DEFAULT 'true'::text,
            due_after timestamp with time zone DEFAULT NULL::timestamp with time zone
        $$),
        ('_jobs_lock_suspect', $$bigint[]$$, $$
            worker text, queue text, job_types text[], due timestamp with time zone
        $$),
        ('_jobs_lower_turns_from', $$void$$, $$queues text[]$$),
        ('_jobs_make_pending', $$SETOF jobs$$, $$job_ids bigint[]$$),
        ('_jobs_may_be_silent', $$
            TABLE(may_be_silent boolean, others_poll boolean)
        $$, $$worker text, queues text[]$$),
        ('_jobs_may_read', $$boolean$$, $$$$),
        ('_jobs_next_due', $$timestamp with time zone$$, $$
            queues text[], job_types text[] DEFAULT NULL::text[],
            floors jsonb DEFAULT NULL::jsonb,
            since timestamp with time zone DEFAULT 'infinity'::timestamp with time zone,
            before timestamp with time zone DEFAULT 'infinity'::timestamp with time zone
        $$),
        ('_jobs_next_level', $$integer$$, $$queue text, below integer, floors jsonb$$),
        ('_jobs_next_turn', $$timestamp with time zone$$, $$queue text, job_types text[]$$),
        ('_jobs_note_ends', $$void$$, $$ends json$$),
        ('_jobs_notify', $$trigger$$, $$$$),
        ('_jobs_objects_of_strangers', $$text$$, $$schema text, installer oid$$),
        ('_jobs_on_conflict', $$SETOF jobs$$, $$
            job_type text, payload jsonb, queue text, priority integer,
            run_at timestamp with time zone, reference_type text, reference_id bigint,
            max_retries integer, unique_key text, backoff interval[], reference_key text,
            group_key text, headers jsonb, expires_at timestamp with time zone, on_conflict text,
            max_wait interval
        $$),
        ('_jobs_queue_opens_at', $$timestamp with time zone$$, $$queue text$$),
        ('_jobs_queue_room', $$integer$$, $$settings jobs_queues, wanted integer$$),
        ('_jobs_queue_room_now', $$integer$$, $$
            settings jobs_queues, at timestamp with time zone
        $$),
        ('_jobs_queues_of_groups', $$SETOF text$$, $$$$),
        ('_jobs_raise_turns_from', $$void$$, $$queue text$$),
        ('_jobs_rank', $$integer$$, $$attempt integer, priority integer$$),
        ('_jobs_rates', $$
            TABLE(status text, per_second double precision)
        $$, $$within interval$$),
        ('_jobs_recent_ends', $$
            TABLE(name text, since timestamp with time zone, attempts bigint, bad bigint,
            wait_p50_s double precision, wait_p95_s double precision, run_p50_s double precision,
            run_p95_s double precision)
        $$, $$
            by_type boolean DEFAULT false, within interval DEFAULT '01:00:00'::interval,
            max_rows integer DEFAULT 3000
        $$),
        ('_jobs_reconcile', $$
            TABLE(released bigint, is_settled boolean)
        $$, $$
            worker text, job_ids bigint[], attempts integer[], backend integer,
            registration bigint DEFAULT NULL::bigint
        $$),
        ('_jobs_recover', $$TABLE(job jobs, lost_by text)$$, $$
            gone text[], worker text DEFAULT NULL::text,
            claimed_before timestamp with time zone DEFAULT 'infinity'::timestamp with time zone,
            sparing text DEFAULT NULL::text, max_jobs integer DEFAULT NULL::integer
        $$),
        ('_jobs_recover_own', $$jsonb$$, $$
            worker text, claimed_before timestamp with time zone, max_jobs integer
        $$),
        ('_jobs_recover_told', $$jsonb$$, $$
            gone text[], worker text DEFAULT NULL::text,
            claimed_before timestamp with time zone DEFAULT 'infinity'::timestamp with time zone,
            sparing text DEFAULT NULL::text, max_jobs integer DEFAULT NULL::integer
        $$),
        ('_jobs_release_unnamed', $$bigint$$, $$
            worker text, job_ids bigint[], attempts integer[],
            claimed_before timestamp with time zone, registration bigint DEFAULT NULL::bigint
        $$),
        ('_jobs_retention_begin', $$jobs_retention$$, $$rule jobs_retention$$),
        ('_jobs_retention_declare', $$SETOF text$$, $$
            app text, retention jsonb, is_newest boolean DEFAULT false
        $$),
        ('_jobs_retention_delete_each', $$TABLE(deleted bigint, error text)$$, $$job_ids bigint[]$$),
        ('_jobs_retention_diff', $$
            TABLE(name text, verdict text, definition jsonb, declared jsonb,
            declared_at timestamp with time zone, is_changed_by_hand boolean, made jsonb,
            current jsonb)
        $$, $$app text, retention jsonb$$),
        ('_jobs_retention_enforce', $$TABLE(deleted bigint, more boolean)$$, $$max_jobs integer DEFAULT 1000$$),
        ('_jobs_retention_sweep', $$bigint$$, $$
            rule jobs_retention, max_jobs bigint, give_up_at timestamp with time zone
        $$),
        ('_jobs_retention_types', $$text[]$$, $$status text$$),
        ('_jobs_retry_delay', $$interval$$, $$backoff interval[], retry integer$$),
        ('_jobs_retry_keyed', $$bigint[]$$, $$job_ids bigint[]$$),
        ('_jobs_room_at', $$timestamp with time zone$$, $$
            queue text, group_key text, allowed integer, period interval,
            at timestamp with time zone
        $$),
        ('_jobs_schedule_due', $$timestamp with time zone$$, $$$$),
        ('_jobs_schedule_enqueue', $$SETOF jobs$$, $$
            schedule jobs_schedules, tick timestamp with time zone
        $$),
        ('_jobs_schedule_fail', $$void$$, $$
            schedule jobs_schedules, at timestamp with time zone, error text
        $$),
        ('_jobs_schedule_fire', $$SETOF jobs$$, $$
            schedule jobs_schedules, at timestamp with time zone, stop_at timestamp with time zone
        $$),
        ('_jobs_schedule_lock', $$jobs_schedules$$, $$name text$$),
        ('_jobs_schedule_next', $$timestamp with time zone$$, $$
            schedule jobs_schedules, after timestamp with time zone
        $$),
        ('_jobs_schedule_of', $$jsonb$$, $$s jobs_schedules$$),
        ('_jobs_schedule_signal', $$void$$, $$name text$$),
        ('_jobs_schedule_ticks', $$timestamp with time zone[]$$, $$
            schedule jobs_schedules, until timestamp with time zone, max_ticks integer
        $$),
        ('_jobs_schedules_declare', $$SETOF text$$, $$
            app text, schedules jsonb, is_newest boolean DEFAULT false
        $$),
        ('_jobs_schedules_diff', $$
            TABLE(name text, verdict text, definition jsonb, declared jsonb,
            declared_at timestamp with time zone, is_changed_by_hand boolean, made jsonb,
            current jsonb)
        $$, $$app text, schedules jsonb$$),
        ('_jobs_search', $$TABLE(job_id bigint, matches boolean)$$, $$
            statuses text[] DEFAULT NULL::text[], job_types text[] DEFAULT NULL::text[],
            queues text[] DEFAULT NULL::text[], reference_type text DEFAULT NULL::text,
            reference_id bigint DEFAULT NULL::bigint, reference_key text DEFAULT NULL::text,
            before bigint DEFAULT NULL::bigint, max_jobs bigint DEFAULT 20,
            max_read integer DEFAULT NULL::integer, group_key text DEFAULT NULL::text
        $$),
        ('_jobs_search_groups', $$TABLE(job_id bigint)$$, $$
            job_types text[], queue text, in_group text, max_jobs bigint, after jobs
        $$),
        ('_jobs_search_pending', $$TABLE(job_id bigint)$$, $$
            job_types text[], queues text[], in_group text, max_jobs bigint, after jobs
        $$),
        ('_jobs_seconds', $$double precision$$, $$
            since timestamp with time zone, until timestamp with time zone
        $$),
        ('_jobs_session_holds', $$boolean$$, $$key bigint$$),
        ('_jobs_share_of_groups', $$integer$$, $$
            queue text, job_types text[], max_jobs integer, due timestamp with time zone
        $$),
        ('_jobs_signal', $$void$$, $$
            queue text, run_at timestamp with time zone, levels integer DEFAULT 524287,
            jobs bigint DEFAULT 1, job_types text[] DEFAULT NULL::text[]
        $$),
        ('_jobs_signal_jobs', $$void$$, $$job_ids bigint[]$$),
        ('_jobs_spend', $$void$$, $$
            queue text, group_key text, starts integer, period interval
        $$),
        ('_jobs_starts_room', $$integer$$, $$
            moments timestamp with time zone[], counts integer[], allowed integer,
            period interval, at timestamp with time zone
        $$),
        ('_jobs_summed', $$SETOF jobs_history$$, $$ended jobs_history[]$$),
        ('_jobs_take_key', $$jobs$$, $$job_id bigint, unique_key text$$),
        ('_jobs_tell_watchers', $$void$$, $$job_ids bigint[]$$),
        ('_jobs_told_ends', $$json$$, $$
            queue text, job_type text, outcome text, jobs bigint, waited_s double precision,
            wait_bucket integer, ran_s double precision, run_bucket integer
        $$),
        ('_jobs_told_group', $$text$$, $$settings jobs_queues, group_key text$$),
        ('_jobs_told_limit', $$text$$, $$
            settings jobs_queues, group_key text DEFAULT NULL::text
        $$),
        ('_jobs_totals', $$
            TABLE(queue text, job_type text, outcome text, jobs bigint, sets bigint)
        $$, $$$$),
        ('_jobs_turn_types', $$text[]$$, $$queue text$$),
        ('_jobs_types_pending', $$text[]$$, $$$$),
        ('_jobs_types_present', $$text[]$$, $$
            queue text, priority integer,
            until timestamp with time zone DEFAULT 'infinity'::timestamp with time zone
        $$),
        ('_jobs_unpack', $$
            TABLE(job_type text, payload jsonb, queue text, priority integer,
            run_at timestamp with time zone, reference_type text, reference_id bigint,
            max_retries integer, unique_key text, unique_scope text, backoff interval[],
            reference_key text, group_key text, headers jsonb,
            expires_at timestamp with time zone, on_conflict text, unique_for interval,
            max_wait interval, place bigint)
        $$, $$jobs jsonb, is_plain boolean$$),
        ('_jobs_unpack_flow', $$
            TABLE(depends_on bigint[], refs text[], on_parent_failed text, batch_id bigint,
            ref text, place bigint)
        $$, $$jobs jsonb$$),
        ('_jobs_unwatch', $$bigint$$, $$max_watches integer$$),
        ('_jobs_utc_offset', $$interval$$, $$
            moment timestamp with time zone, timezone text
        $$),
        ('_jobs_valid_delays', $$boolean$$, $$delays interval[]$$),
        ('_jobs_verdict', $$text$$, $$
            is_there boolean, declared jsonb, definition jsonb
        $$),
        ('_jobs_waiting_groups', $$
            TABLE(queue text, group_key text, due bigint, due_capped boolean, startable bigint,
            oldest interval, held_until timestamp with time zone, is_more boolean, told text)
        $$, $$
            only_queue text DEFAULT NULL::text, max_groups integer DEFAULT 20
        $$),
        ('_jobs_who_runs', $$text$$, $$queue text, group_key text$$),
        ('_jobs_why_blocked', $$
            TABLE(reason text, detail text, advice text)
        $$, $$job jobs$$),
        ('_jobs_why_ended', $$
            TABLE(reason text, detail text, advice text)
        $$, $$job jobs$$),
        ('_jobs_why_pending', $$
            TABLE(reason text, detail text, advice text)
        $$, $$job jobs$$),
        ('_jobs_why_processing', $$
            TABLE(reason text, detail text, advice text)
        $$, $$job jobs$$),
        ('_jobs_worker_beat', $$TABLE(job_id bigint, state text)$$, $$
            worker text, job_ids bigint[], attempts integer[], lease interval,
            answer_within interval, registration bigint DEFAULT NULL::bigint
        $$),
        ('_jobs_worker_fire', $$
            TABLE(fired boolean, fires_at timestamp with time zone,
            fired_at timestamp with time zone)
        $$, $$$$),
        ('_jobs_worker_help', $$void$$, $$worker text, floors jsonb$$),
        ('_jobs_worker_mode', $$boolean$$, $$worker text, mode text$$),
        ('_jobs_worker_modes', $$
            TABLE(worker text, mode text, unseen interval, hangs boolean)
        $$, $$$$),
        ('_jobs_worker_tick', $$
            TABLE(others_work boolean, may_be_silent boolean, due timestamp with time zone,
            more boolean, recovered jsonb, fires_at timestamp with time zone, deletes boolean,
            opens_at timestamp with time zone, ticked_at timestamp with time zone)
        $$, $$
            worker text, is_full boolean DEFAULT true, queues text[] DEFAULT NULL::text[]
        $$),
        ('_jobs_worker_watch', $$
            TABLE(may_be_silent boolean, others_poll boolean, due timestamp with time zone,
            seen_now jsonb)
        $$, $$
            worker text, floors jsonb, seen jsonb DEFAULT NULL::jsonb
        $$),
        ('_jobs_workers_gone', $$text[]$$, $$$$),
        ('jobs_batch', $$SETOF jobs$$, $$
            job_type text, payload jsonb DEFAULT '{}'::jsonb, queue text DEFAULT 'default'::text,
            priority integer DEFAULT 0,
            run_at timestamp with time zone DEFAULT NULL::timestamp with time zone,
            reference_type text DEFAULT NULL::text, reference_id bigint DEFAULT NULL::bigint,
            max_retries integer DEFAULT 3, unique_key text DEFAULT NULL::text,
            unique_scope text DEFAULT 'live'::text, backoff interval[] DEFAULT NULL::interval[],
            reference_key text DEFAULT NULL::text, group_key text DEFAULT NULL::text,
            headers jsonb DEFAULT NULL::jsonb,
            expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone,
            depends_on bigint[] DEFAULT NULL::bigint[], on_parent_failed text DEFAULT 'run'::text,
            batch_id bigint DEFAULT NULL::bigint, on_conflict text DEFAULT 'return'::text,
            unique_for interval DEFAULT NULL::interval, max_wait interval DEFAULT NULL::interval
        $$),
        ('jobs_batch_close', $$SETOF jobs$$, $$batch_id bigint$$),
        ('jobs_batches', $$view$$, $$
            batch_id bigint, total integer, completed integer, failed integer, cancelled integer,
            open boolean
        $$),
        ('jobs_cancel', $$SETOF jobs$$, $$
            job_id bigint, reason text DEFAULT NULL::text, worker text DEFAULT NULL::text,
            attempt integer DEFAULT NULL::integer, downstream boolean DEFAULT false
        $$),
        ('jobs_cancel_many', $$bigint$$, $$
            job_ids bigint[] DEFAULT NULL::bigint[], job_types text[] DEFAULT NULL::text[],
            queues text[] DEFAULT NULL::text[], group_keys text[] DEFAULT NULL::text[],
            reference_type text DEFAULT NULL::text, reference_id bigint DEFAULT NULL::bigint,
            reference_key text DEFAULT NULL::text, batch_id bigint DEFAULT NULL::bigint,
            created_before timestamp with time zone DEFAULT NULL::timestamp with time zone,
            failed_since timestamp with time zone DEFAULT NULL::timestamp with time zone,
            max_jobs integer DEFAULT 10000, reason text DEFAULT NULL::text,
            statuses text[] DEFAULT NULL::text[]
        $$),
        ('jobs_channel', $$text$$, $$topic text$$),
        ('jobs_claim', $$SETOF jobs$$, $$
            worker text, queues text[] DEFAULT '{default}'::text[], max_jobs integer DEFAULT 1,
            lease interval DEFAULT '00:01:00'::interval, job_types text[] DEFAULT NULL::text[],
            floors jsonb DEFAULT NULL::jsonb, suspects boolean DEFAULT true,
            free integer DEFAULT NULL::integer
        $$),
        ('jobs_cleanup', $$bigint$$, $$
            older_than interval DEFAULT '7 days'::interval,
            statuses text[] DEFAULT '{completed}'::text[], max_jobs integer DEFAULT 100000,
            finished_before timestamp with time zone DEFAULT NULL::timestamp with time zone
        $$),
        ('jobs_complete', $$SETOF jobs$$, $$
            job_id bigint, result jsonb DEFAULT NULL::jsonb, worker text DEFAULT NULL::text,
            attempt integer DEFAULT NULL::integer
        $$),
        ('jobs_complete_many', $$SETOF bigint$$, $$
            worker text, job_ids bigint[], attempts integer[], results jsonb[],
            keep boolean DEFAULT true
        $$),
        ('jobs_copy', $$SETOF jobs$$, $$
            job_id bigint, payload jsonb DEFAULT NULL::jsonb
        $$),
        ('jobs_counts', $$
            TABLE(queue text, job_type text, state text, jobs bigint, capped boolean)
        $$, $$cap integer DEFAULT 10000$$),
        ('jobs_cron_next', $$timestamp with time zone$$, $$
            cron text, after timestamp with time zone DEFAULT NULL::timestamp with time zone,
            timezone text DEFAULT 'UTC'::text
        $$),
        ('jobs_delete_many', $$bigint$$, $$
            job_ids bigint[] DEFAULT NULL::bigint[], job_types text[] DEFAULT NULL::text[],
            queues text[] DEFAULT NULL::text[], group_keys text[] DEFAULT NULL::text[],
            reference_type text DEFAULT NULL::text, reference_id bigint DEFAULT NULL::bigint,
            reference_key text DEFAULT NULL::text, batch_id bigint DEFAULT NULL::bigint,
            created_before timestamp with time zone DEFAULT NULL::timestamp with time zone,
            failed_since timestamp with time zone DEFAULT NULL::timestamp with time zone,
            max_jobs integer DEFAULT 10000, statuses text[] DEFAULT NULL::text[],
            finished_before timestamp with time zone DEFAULT NULL::timestamp with time zone
        $$),
        ('jobs_doctor', $$
            TABLE(check_name text, verdict text, detail text, advice text)
        $$, $$$$),
        ('jobs_edit', $$SETOF jobs$$, $$
            job_id bigint, payload jsonb DEFAULT NULL::jsonb,
            priority integer DEFAULT NULL::integer, queue text DEFAULT NULL::text,
            run_at timestamp with time zone DEFAULT NULL::timestamp with time zone
        $$),
        ('jobs_edit_many', $$bigint$$, $$
            set_priority integer DEFAULT NULL::integer, set_queue text DEFAULT NULL::text,
            set_run_at timestamp with time zone DEFAULT NULL::timestamp with time zone,
            job_ids bigint[] DEFAULT NULL::bigint[], job_types text[] DEFAULT NULL::text[],
            queues text[] DEFAULT NULL::text[], group_keys text[] DEFAULT NULL::text[],
            reference_type text DEFAULT NULL::text, reference_id bigint DEFAULT NULL::bigint,
            reference_key text DEFAULT NULL::text, batch_id bigint DEFAULT NULL::bigint,
            created_before timestamp with time zone DEFAULT NULL::timestamp with time zone,
            failed_since timestamp with time zone DEFAULT NULL::timestamp with time zone,
            max_jobs integer DEFAULT 10000, statuses text[] DEFAULT NULL::text[],
            due_after timestamp with time zone DEFAULT NULL::timestamp with time zone
        $$),
        ('jobs_enqueue', $$SETOF jobs$$, $$
            job_type text, payload jsonb DEFAULT '{}'::jsonb, queue text DEFAULT 'default'::text,
            priority integer DEFAULT 0,
            run_at timestamp with time zone DEFAULT NULL::timestamp with time zone,
            reference_type text DEFAULT NULL::text, reference_id bigint DEFAULT NULL::bigint,
            max_retries integer DEFAULT 3, unique_key text DEFAULT NULL::text,
            unique_scope text DEFAULT 'live'::text, backoff interval[] DEFAULT NULL::interval[],
            reference_key text DEFAULT NULL::text, group_key text DEFAULT NULL::text,
            headers jsonb DEFAULT NULL::jsonb,
            expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone,
            depends_on bigint[] DEFAULT NULL::bigint[],
            on_parent_failed text DEFAULT 'cancel'::text, batch_id bigint DEFAULT NULL::bigint,
            on_conflict text DEFAULT 'return'::text, unique_for interval DEFAULT NULL::interval,
            max_wait interval DEFAULT NULL::interval
        $$),
        ('jobs_enqueue_many', $$SETOF bigint$$, $$jobs jsonb$$),
        ('jobs_fail', $$SETOF jobs$$, $$
            job_id bigint, error text, retry boolean DEFAULT true,
            retry_in interval DEFAULT NULL::interval, worker text DEFAULT NULL::text,
            attempt integer DEFAULT NULL::integer, error_kind text DEFAULT NULL::text
        $$),
        ('jobs_fail_many', $$SETOF bigint$$, $$
            worker text, job_ids bigint[], attempts integer[], errors text[], retries boolean[],
            retry_ins interval[], error_kinds text[] DEFAULT NULL::text[]
        $$),
        ('jobs_grant', $$void$$, $$role_name text, as_what text$$),
        ('jobs_heal_groups', $$bigint$$, $$max_groups integer DEFAULT 10000$$),
        ('jobs_heartbeat', $$TABLE(job_id bigint, state text)$$, $$
            worker text, job_ids bigint[], attempts integer[], lease interval
        $$),
        ('jobs_limit', $$SETOF jobs_queues$$, $$
            queue text, max_running integer DEFAULT NULL::integer,
            max_running_per_group integer DEFAULT NULL::integer,
            rate_count integer DEFAULT NULL::integer, rate_period interval DEFAULT NULL::interval,
            group_rate_count integer DEFAULT NULL::integer,
            group_rate_period interval DEFAULT NULL::interval, in_order boolean DEFAULT false
        $$),
        ('jobs_list', $$view$$, $$
            id bigint, queue text, job_type text, status text, priority jobs_priority,
            reference_type jobs_reference_type, reference_id bigint,
            reference_key jobs_reference_key, group_key jobs_group_key, batch_id bigint,
            retry_count jobs_count, max_retries jobs_count, crash_count jobs_crash_count,
            attempt jobs_count, run_at jobs_moment, expires_at jobs_moment,
            depends_on_left integer, worker text, lease_until jobs_moment,
            cancel_requested_at jobs_moment, created_at jobs_moment, updated_at jobs_moment,
            started_at jobs_moment, finished_at jobs_moment, age interval, error text
        $$),
        ('jobs_next_due', $$timestamp with time zone$$, $$
            queues text[], job_types text[] DEFAULT NULL::text[]
        $$),
        ('jobs_outcomes', $$
            TABLE(job_id bigint, status text, result jsonb, error text,
            finished_at timestamp with time zone)
        $$, $$job_ids bigint[]$$),
        ('jobs_parents', $$SETOF jobs_parent$$, $$job_id bigint$$),
        ('jobs_pause', $$SETOF jobs_queues$$, $$
            queue text, until timestamp with time zone DEFAULT NULL::timestamp with time zone,
            reason text DEFAULT NULL::text
        $$),
        ('jobs_progress', $$SETOF bigint$$, $$
            worker text, job_ids bigint[], attempts integer[], progress jsonb[]
        $$),
        ('jobs_quantile', $$double precision$$, $$
            counts bigint[], fraction double precision DEFAULT 0.5
        $$),
        ('jobs_recover', $$SETOF jobs$$, $$worker text DEFAULT NULL::text$$),
        ('jobs_release_many', $$SETOF bigint$$, $$
            worker text, job_ids bigint[], attempts integer[],
            run_ats timestamp with time zone[] DEFAULT NULL::timestamp with time zone[]
        $$),
        ('jobs_resume', $$SETOF jobs_queues$$, $$queue text$$),
        ('jobs_retain', $$void$$, $$
            status text, keep_for interval, job_type text DEFAULT NULL::text
        $$),
        ('jobs_retry', $$SETOF jobs$$, $$job_id bigint$$),
        ('jobs_retry_many', $$bigint$$, $$
            job_types text[] DEFAULT NULL::text[], queues text[] DEFAULT NULL::text[],
            failed_since timestamp with time zone DEFAULT NULL::timestamp with time zone,
            max_jobs integer DEFAULT 10000, job_ids bigint[] DEFAULT NULL::bigint[],
            group_keys text[] DEFAULT NULL::text[], reference_type text DEFAULT NULL::text,
            reference_id bigint DEFAULT NULL::bigint, reference_key text DEFAULT NULL::text,
            batch_id bigint DEFAULT NULL::bigint,
            created_before timestamp with time zone DEFAULT NULL::timestamp with time zone,
            failed_before timestamp with time zone DEFAULT NULL::timestamp with time zone
        $$),
        ('jobs_schedule', $$SETOF jobs_schedules$$, $$
            name text, job_type text, cron text DEFAULT NULL::text,
            every interval DEFAULT NULL::interval, timezone text DEFAULT 'UTC'::text,
            payload jsonb DEFAULT '{}'::jsonb, queue text DEFAULT 'default'::text,
            priority integer DEFAULT 0, max_retries integer DEFAULT 3,
            backoff interval[] DEFAULT NULL::interval[], group_key text DEFAULT NULL::text,
            missed text DEFAULT 'latest'::text, missed_within interval DEFAULT NULL::interval,
            overlap text DEFAULT 'skip'::text,
            starts_at timestamp with time zone DEFAULT NULL::timestamp with time zone,
            ends_at timestamp with time zone DEFAULT NULL::timestamp with time zone
        $$),
        ('jobs_schedule_list', $$view$$, $$
            name text, job_type text, cron text, every interval, timezone text, queue text,
            priority jobs_priority, max_retries jobs_count, group_key jobs_group_key, missed text,
            missed_within interval, overlap text, starts_at jobs_moment, ends_at jobs_moment,
            paused_at jobs_moment, next_at jobs_moment, last_at jobs_moment,
            recent_job_ids bigint[], is_declared boolean, created_at jobs_moment,
            updated_at jobs_moment, error text
        $$),
        ('jobs_schedule_pause', $$SETOF jobs_schedules$$, $$name text$$),
        ('jobs_schedule_preview', $$
            TABLE(at timestamp with time zone, local_time timestamp without time zone)
        $$, $$
            name text DEFAULT NULL::text, cron text DEFAULT NULL::text,
            every interval DEFAULT NULL::interval, timezone text DEFAULT 'UTC'::text,
            ticks integer DEFAULT 5
        $$),
        ('jobs_schedule_resume', $$SETOF jobs_schedules$$, $$name text$$),
        ('jobs_schedule_run', $$SETOF jobs$$, $$name text$$),
        ('jobs_schedules_fire', $$SETOF jobs$$, $$max_schedules integer DEFAULT 100$$),
        ('jobs_start', $$SETOF jobs$$, $$
            job_id bigint, worker text, lease interval DEFAULT NULL::interval
        $$),
        ('jobs_stats', $$view$$, $$
            queue text, job_type text, status text, count bigint, oldest_due interval
        $$),
        ('jobs_unschedule', $$SETOF jobs_schedules$$, $$name text$$),
        ('jobs_version', $$text$$, $$$$),
        ('jobs_watch', $$SETOF bigint$$, $$job_ids bigint[]$$),
        ('jobs_why', $$
            TABLE(reason text, detail text, advice text)
        $$, $$job_id bigint$$),
        ('jobs_worker_start', $$SETOF jobs_workers$$, $$
            worker text, queues text[], job_types text[], concurrency integer,
            version text DEFAULT NULL::text
        $$),
        ('jobs_worker_stop', $$void$$, $$worker text$$)
        -- end of the generated list
    ) as s (name, result, arguments);
end
$signatures$;

-- install/check.sql
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

set local search_path to :"schema", pg_temp;
-- functions/manage/_jobs_objects_of_strangers.sql
-- Our functions find by name what the schema holds, beside what PostgreSQL has. Where an operator
-- or a function of the schema fits the types of a call better than PostgreSQL's own, the call gets
-- that one, and runs it as the owner of pgjobs. So the schema may hold nothing that a stranger can
-- change. A stranger is a role that is not the installer, a superuser or the owner of the database,
-- to which the installer does not belong, and which cannot become the installer.
--
-- Left out are the members of an extension whose owner is no stranger, and tables, because our
-- functions use no table but their own. A cast has neither schema nor owner. It counts as being
-- where its function and its types are, and as belonging to their owners.
--
-- sql/install.sql makes this function before it relies on anything else in the schema, so that an
-- upgrade replaces it in place: its arguments and its result stay as they are. Only names of
-- PostgreSQL are on its path.
create or replace function _jobs_objects_of_strangers(schema text, installer oid) returns text
language sql stable
set search_path to pg_catalog, pg_temp
as $$
with recursive above(role) as (
    select installer
    union
    select m.roleid from above a join pg_auth_members m on m.member = a.role
), stranger(role) as materialized (
    select r.oid from pg_roles r
    where not r.rolsuper
        and r.oid not in (select a.role from above a)
        and r.oid <> (select d.datdba from pg_database d where d.datname = current_database())
        -- Its only member is the owner of the database.
        and r.rolname <> 'pg_database_owner'
        and not pg_has_role(r.oid, installer, 'member')
), place(oid) as (
    select n.oid from pg_namespace n where n.nspname = schema
), function(oid, owner) as materialized (
    select p.oid, p.proowner from pg_proc p where p.pronamespace = (select p.oid from place p)
), type(oid, owner, relation) as materialized (
    select t.oid, t.typowner, t.typrelid from pg_type t
    where t.typnamespace = (select p.oid from place p)
), object(class, id, owner) as (
    select 'pg_proc'::regclass, f.oid, f.owner from function f
    union all
    select 'pg_operator'::regclass, o.oid, o.oprowner from pg_operator o
    where o.oprnamespace = (select p.oid from place p)
    union all
    -- Neither the array that comes with each type nor the rows of a table.
    select 'pg_type'::regclass, t.oid, t.owner from type t
    where not exists (select from pg_type e where e.typarray = t.oid)
        and not exists (select from pg_class c where c.oid = t.relation and c.relkind <> 'c')
    union all
    select 'pg_cast'::regclass, c.oid, part.owner
    from pg_cast c
    cross join lateral (
        select t.typowner as owner from pg_type t where t.oid in (c.castsource, c.casttarget)
        union all
        select p.proowner from pg_proc p where p.oid = c.castfunc
    ) part
    where c.castsource in (select t.oid from type t)
        or c.casttarget in (select t.oid from type t)
        or c.castfunc in (select f.oid from function f)
    union all
    select 'pg_opclass'::regclass, o.oid, o.opcowner from pg_opclass o
    where o.opcnamespace = (select p.oid from place p)
    union all
    select 'pg_opfamily'::regclass, o.oid, o.opfowner from pg_opfamily o
    where o.opfnamespace = (select p.oid from place p)
    union all
    select 'pg_collation'::regclass, c.oid, c.collowner from pg_collation c
    where c.collnamespace = (select p.oid from place p)
    union all
    select 'pg_conversion'::regclass, c.oid, c.conowner from pg_conversion c
    where c.connamespace = (select p.oid from place p)
    union all
    select 'pg_ts_config'::regclass, c.oid, c.cfgowner from pg_ts_config c
    where c.cfgnamespace = (select p.oid from place p)
    union all
    select 'pg_ts_dict'::regclass, d.oid, d.dictowner from pg_ts_dict d
    where d.dictnamespace = (select p.oid from place p)
), strange(name, place) as (
    select s.name, row_number() over (order by s.name)
    from (
        select distinct format('%s of %s', pg_describe_object(o.class, o.id, 0),
                               quote_ident(pg_get_userbyid(o.owner))) as name
        from object o
        where o.owner in (select s.role from stranger s)
            -- Whoever owns an extension may make own objects members of it. Users of a managed
            -- database are no superusers: there an administrator, who may create roles, owns the
            -- extensions.
            and not exists (
                select from pg_depend d
                join pg_extension e on e.oid = d.refobjid
                where d.classid = o.class and d.objid = o.id and d.deptype = 'e'
                    and d.refclassid = 'pg_extension'::regclass
                    and (e.extowner not in (select s.role from stranger s)
                        or (select r.rolcreaterole from pg_roles r where r.oid = e.extowner)
                            and not (select r.rolsuper from pg_roles r where r.oid = installer)))
    ) s
)
select string_agg(s.name, ', ' order by s.place) filter (where s.place <= 10)
    || case when count(*) > 10 then format(' and %s more', count(*) - 10) else '' end
from strange s
$$;

comment on function _jobs_objects_of_strangers is
    'internal: what another role owns in the schema and our functions might use; null: nothing';

set local search_path to pg_catalog, pg_temp;
-- install/strangers.sql
-- Refuses a schema that holds what a stranger could let us run. Only names of PostgreSQL are on the
-- path until that is known.
do $strangers$
declare
    v_schema constant text := current_setting('pgjobs.schema');
    v_objects text;
begin
    execute format('select %I._jobs_objects_of_strangers($1, $2)', v_schema)
    into v_objects
    using v_schema, (select r.oid from pg_roles r where r.rolname = current_user);
    if v_objects is not null then
        raise exception 'the schema % holds objects of other roles, which the functions of pgjobs'
            ' might run, and nothing was changed: %', quote_ident(v_schema), v_objects
            using errcode = 'JQ005', hint = format('Drop them, or give them to %I (alter ... owner'
                ' to), or choose a schema of its own by --schema (or psql -v schema=...).',
                current_user);
    end if;
end
$strangers$;

set local search_path to :"schema", pg_temp;

-- The tables: guarded by the catalogue, so that all of them can be run every time.
-- migrations/0001_jobs.sql
-- The tables. A migration adds only what the catalogue lacks, so it may run twice: psql
-- (sql/install.sql) runs all of them each time, `pgjobs migrate` those that its ledger lacks.
-- Never edit a released migration: yoyo knows a migration by its name, not by its text.

-- Where a domain can limit a column, there is no check of the table. PostgreSQL checks a domain
-- only when the column is assigned. PostgreSQL parses and evaluates a check of the table in every
-- claim and completion. That was a quarter of the cost of a lone statement
-- (docs/decisions/0005-microseconds.md). Queue, type and status stay text with checks, because
-- most drivers do not take an array of a domain for an array of text.
do $domains$
begin
    if to_regclass('jobs') is not null then
        return;
    end if;
    create domain jobs_reference_type as text collate "C"
        constraint jobs_reference_type_has_a_name_of_at_most_512_bytes
            check (octet_length(value) between 1 and 512);
    create domain jobs_reference_key as text collate "C"
        constraint jobs_reference_key_has_at_most_512_bytes
            check (octet_length(value) between 1 and 512);
    create domain jobs_group_key as text collate "C"
        constraint jobs_group_key_has_at_most_512_bytes
            check (octet_length(value) between 1 and 512);
    create domain jobs_headers as jsonb
        constraint jobs_headers_are_an_object
            check (jsonb_typeof(value) = 'object');
    create domain jobs_unique_key as text collate "C"
        constraint jobs_unique_key_has_at_most_512_bytes
            check (octet_length(value) between 1 and 512);
    create domain jobs_unique_scope as text collate "C"
        constraint jobs_unique_scope_is_known
            check (value in ('live', 'kept', 'pending', 'period'));
    create domain jobs_priority as smallint
        constraint jobs_priority_is_from_minus_9_to_9
            check (value between -9 and 9);
    create domain jobs_count as int
        constraint jobs_counts_are_not_negative
            check (value >= 0);
    create domain jobs_crash_count as smallint
        constraint jobs_crash_count_is_not_negative
            check (value >= 0);
    create domain jobs_moment as timestamptz
        constraint jobs_moments_are_in_the_years_1_to_9999
            check (value >= '0001-01-02 00:00:00+00' and value < '9999-12-31 00:00:00+00');
    create domain jobs_backoff as interval[]
        constraint jobs_backoff_holds_delays
            check (cardinality(value) > 0 and array_ndims(value) = 1
                   and array_lower(value, 1) = 1 and array_position(value, null) is null
                   and interval '0' <= all (value) and interval '100 years' >= all (value));
end
$domains$;

-- What jobs_parents returns: its argument is named job_id, like its first column.
do $type$
begin
    if to_regtype('jobs_parent') is null then
        create type jobs_parent as (
            job_id bigint, job_type text, status text, result jsonb, error text);
    end if;
end
$type$;

-- The order of the columns decides what an update costs (docs/decisions/0002-table-and-indexes.md
-- has the figures). Columns of fixed length stand first, in an order that needs no padding. Columns
-- that a claim or a completion writes stand side by side, because the WAL record of an update
-- within one page holds only the bytes between the first and the last difference. Columns of any
-- length that never change stand behind them, and those that a plain job does not use stand last.
-- The primary key gets three entries per job, one per version: the fillfactor leaves room for them,
-- or pages would split.
create table if not exists jobs (
    id bigint generated always as identity,
    created_at jobs_moment not null default clock_timestamp(),
    max_retries jobs_count not null default 3,
    priority jobs_priority not null default 0,
    crash_count jobs_crash_count not null default 0,
    retry_count jobs_count not null default 0,
    attempt jobs_count not null default 0,
    run_at jobs_moment not null default clock_timestamp(),
    updated_at jobs_moment not null default clock_timestamp(),
    started_at jobs_moment,
    lease_until jobs_moment,
    cancel_requested_at jobs_moment,
    finished_at jobs_moment,
    status text collate "C" not null default 'pending',
    worker text collate "C",
    progress jsonb,
    result jsonb,
    error text,
    queue text collate "C" not null default 'default',
    job_type text collate "C" not null,
    reference_type jobs_reference_type,
    reference_id bigint,
    reference_key jobs_reference_key,
    unique_key jobs_unique_key,
    unique_scope jobs_unique_scope not null default 'live',
    payload jsonb not null default '{}',
    backoff jobs_backoff,
    headers jobs_headers,
    group_key jobs_group_key,
    batch_id bigint,
    depends_on_left int,
    expires_at jobs_moment,
    unique_until timestamptz,
    marks smallint,
    constraint jobs_id_is_the_key
        primary key (id) with (fillfactor = 30),
    constraint jobs_queue_has_a_name_of_at_most_512_bytes
        check (octet_length(queue) between 1 and 512),
    constraint jobs_job_type_has_a_name_of_at_most_512_bytes
        check (octet_length(job_type) between 1 and 512),
    constraint jobs_status_is_known_and_final_exactly_when_finished_at_is_set
        check (case when finished_at is null then status in ('pending', 'processing', 'blocked')
               else status in ('completed', 'failed', 'cancelled') end)
) with (
    fillfactor = 68,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);

-- to_regclass first: `create index if not exists` waits for all writers before it looks.
do $indexes$
begin
    -- For the claim: equality on queue, priority and type, then run_at and id in order. The type is
    -- there so that a claim never reads the due jobs of types that its worker has no handler for.
    if to_regclass('ix_jobs_claim') is null then
        create index ix_jobs_claim
            on jobs (queue, priority, job_type, run_at, id)
            where status = 'pending' and group_key is null;
    end if;

    -- For groups: how many jobs of a group run, and which come next. Each type of a group is a
    -- range in the order of _jobs_rank.
    if to_regclass('ix_jobs_group') is null then
        create index ix_jobs_group
            on jobs (queue, group_key, status, job_type, ((attempt = 0)::int * 20 - priority::int), run_at,
                id)
            where group_key is not null and finished_at is null;
    end if;

    -- The few jobs whose worker was lost. Among them are the suspects (see _jobs_lock_suspect).
    if to_regclass('ix_jobs_crashed') is null then
        create index ix_jobs_crashed
            on jobs (queue, priority, run_at, id)
            where status = 'pending' and crash_count > 0;
    end if;

    -- What a tick ends: the few jobs that must begin in time. Those that failed or were lost before
    -- have begun.
    if to_regclass('ix_jobs_expires') is null then
        create index ix_jobs_expires
            on jobs (expires_at)
            where expires_at is not null and status = 'pending'
                and retry_count = 0 and crash_count = 0;
    end if;

    -- Who holds a key has 0 beside it. A job of scope pending that waits no more has its id there:
    -- an older job that comes back finds it by that (_jobs_key_successor).
    if to_regclass('ix_jobs_unique_key') is null then
        create unique index ix_jobs_unique_key
            on jobs (job_type, unique_key, (
                case when unique_scope <> 'pending' or status in ('pending', 'blocked') then 0
                else id end))
            where unique_key is not null and (unique_scope <> 'live' or finished_at is null);
    end if;

    -- The seven look-ups. tests/sql/test_plans.py has the query of each. ix_jobs_job_type answers
    -- two: by type, and by type and status. ix_jobs_reference answers two: by reference_type, and
    -- by both. ix_jobs_job_type has one range for each type and status, oldest first: what
    -- retention deletes.
    if to_regclass('ix_jobs_job_type') is null then
        create index ix_jobs_job_type
            on jobs (job_type, status, finished_at);
    end if;
    -- jobs_recover reads its 'processing' rows, jobs_cleanup those of a final status in order.
    if to_regclass('ix_jobs_status') is null then
        create index ix_jobs_status
            on jobs (status, finished_at)
            where status <> 'pending';
    end if;
    if to_regclass('ix_jobs_reference_id') is null then
        create index ix_jobs_reference_id
            on jobs (reference_id)
            where reference_id is not null;
    end if;
    if to_regclass('ix_jobs_reference') is null then
        create index ix_jobs_reference
            on jobs (reference_type, reference_id)
            where reference_type is not null;
    end if;
    if to_regclass('ix_jobs_reference_key') is null then
        create index ix_jobs_reference_key
            on jobs (reference_type, reference_key)
            where reference_key is not null;
    end if;
end
$indexes$;

create table if not exists jobs_queues (
    queue text collate "C" not null,
    paused_at jobs_moment,
    paused_until jobs_moment,
    pause_reason text,
    max_running int,
    max_running_per_group int,
    rate_count int,
    rate_period interval,
    group_rate_count int,
    group_rate_period interval,
    in_order boolean not null default false,
    has_groups boolean not null default false,
    ends_free_places boolean not null
        generated always as (num_nonnulls(max_running, max_running_per_group) > 0) stored,
    declared jsonb,
    constraint jobs_queues_queue_is_the_key
        primary key (queue),
    constraint jobs_queues_limits_are_not_negative
        check (max_running >= 0 and max_running_per_group >= 0),
    constraint jobs_queues_rates_are_positive
        check (rate_count > 0 and group_rate_count > 0
               and rate_period > '0' and group_rate_period > '0'),
    constraint jobs_queues_rates_have_a_count_and_a_period
        check (num_nonnulls(rate_count, rate_period) <> 1
               and num_nonnulls(group_rate_count, group_rate_period) <> 1),
    constraint jobs_queues_queue_has_a_name_of_at_most_512_bytes
        check (octet_length(queue) between 1 and 512)
);

-- "Look at this group, for jobs of this type, not before then." Whoever makes a job of a group
-- pending, or ends one where that frees a place, inserts a turn: without a lock, and as often as it
-- likes. A claim that has the group's lock deletes the turns that it sees, and inserts one for each
-- type that is pending then (_jobs_claim_groups).
create table if not exists jobs_turns (
    queue text collate "C" not null,
    group_key text collate "C" not null,
    job_type text collate "C" not null,
    turn_at jobs_moment not null,
    full_since jobs_moment
) with (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- Claims read the turns of a queue from turns_from on: before it lie only index entries of turns
-- that are gone, and vacuum cannot remove those while a snapshot is held. A row changes once a
-- second at most (_jobs_raise_turns_from).
create table if not exists jobs_turns_from (
    queue text collate "C" not null,
    turns_from jobs_moment not null,
    marked_at jobs_moment not null,
    marked_xid bigint not null,
    constraint jobs_turns_from_queue_is_the_key
        primary key (queue)
) with (fillfactor = 50);

-- The latest starts of a queue (group_key '') or a group with a rate: how many at which moments.
create table if not exists jobs_starts (
    queue text collate "C" not null,
    group_key text collate "C" not null,
    moments timestamptz[] not null,
    counts int[] not null,
    counts_until jobs_moment not null,
    constraint jobs_starts_queue_and_group_are_the_key
        primary key (queue, group_key)
) with (fillfactor = 50);

-- The attempts of jobs that failed or were lost: the last 20 of each job (_jobs_end_attempt). A job
-- that completes at once has no row. A row goes with its job.
create table if not exists jobs_attempts (
    job_id bigint not null,
    job_type text collate "C" not null,
    attempt int not null,
    worker text collate "C",
    due_at jobs_moment,
    started_at jobs_moment,
    ended_at jobs_moment not null,
    outcome text collate "C" not null,
    error_kind text,
    error text,
    constraint jobs_attempts_job_and_attempt_are_the_key
        primary key (job_id, attempt)
) with (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- How attempts ended, since they were last added up. Whoever ends attempts inserts one row for all of
-- one call, and so waits for nobody: a counter that is updated would be locked until the caller's
-- commit. ends: see _jobs_ends. Not compressed, since each row is read and deleted soon.
create table if not exists jobs_ends (
    noted_at jobs_moment not null default clock_timestamp(),
    ends json not null
) with (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);
do $storage_of_ends$
begin
    if exists (
        select from pg_attribute a
        where a.attrelid = 'jobs_ends'::regclass and a.attname = 'ends' and a.attstorage <> 'e')
    then
        alter table jobs_ends alter column ends set storage external;
    end if;
end
$storage_of_ends$;

-- How attempts ended: per minute for 48 h, then per hour for 60 days. A row without queue and job_type
-- is the sum of what is beyond the 1,000th set of labels of its minute or hour.
create table if not exists jobs_history (
    span interval not null,
    starts_at jobs_moment not null,
    queue text collate "C",
    job_type text collate "C",
    outcome text collate "C" not null,
    jobs bigint not null,
    waited_s float8 not null,
    waits int[] not null,
    ran_s float8 not null,
    runs int[] not null,
    constraint jobs_history_span_moment_and_labels_are_the_key
        unique nulls not distinct (span, starts_at, queue, job_type, outcome)
) with (
    fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- The same since the installation, for monitors: a total never decreases. The first 1,000 sets of
-- labels have rows of their own, and all others are summed in the rows without queue and job_type. A
-- set leaves when nothing of it has ended for 60 days.
create table if not exists jobs_totals (
    queue text collate "C",
    job_type text collate "C",
    outcome text collate "C" not null,
    jobs bigint not null,
    sets int not null,
    counted_at jobs_moment not null,
    constraint jobs_totals_labels_are_the_key
        unique nulls not distinct (queue, job_type, outcome)
) with (fillfactor = 50);

-- How long attempts waited and ran, in all. The hundred busiest types have rows of their own.
create table if not exists jobs_durations (
    queue text collate "C",
    job_type text collate "C",
    waited_s float8 not null,
    waits bigint[] not null,
    ran_s float8 not null,
    runs bigint[] not null,
    constraint jobs_durations_labels_are_the_key
        unique nulls not distinct (queue, job_type)
) with (fillfactor = 50);

-- Who has changed what, by which managing function. A row stays 400 days (_jobs_audit_expire). The
-- ids lead to the newest rows and to the oldest, so the primary key is the only index.
create table if not exists jobs_audit (
    id bigint generated always as identity,
    at jobs_moment not null default clock_timestamp(),
    job_id bigint,
    jobs bigint,
    db_role text collate "C" not null,
    set_role text collate "C",
    actor text,
    action text collate "C" not null,
    filters jsonb,
    reason text,
    constraint jobs_audit_id_is_the_key
        primary key (id)
);

-- Whose end is to be notified, and until when. There is no unique index, so that who watches a job
-- never waits for another session that watches it too. A row is deleted once the outcome was read.
create table if not exists jobs_watched (
    job_id bigint not null,
    watched_until jobs_moment not null
) with (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- Which jobs wait, or have waited, for others, their parents, and what became of the parents. A batch
-- is its callback: a job that waits for the batch's members. counted_at: when the counts were last
-- compared with the jobs themselves. keeps_parents: parents that would be gone by now are kept for
-- this job.
create table if not exists jobs_flows (
    job_id bigint not null,
    on_parent_failed text collate "C" not null,
    is_batch boolean not null,
    is_open boolean not null,
    parents int not null,
    completed int not null default 0,
    failed int not null default 0,
    cancelled int not null default 0,
    keeps_parents boolean not null default false,
    counted_at jobs_moment not null default clock_timestamp(),
    constraint jobs_flows_job_is_the_key
        primary key (job_id),
    constraint jobs_flows_on_parent_failed_is_known
        check (on_parent_failed in ('cancel', 'run', 'wait', 'only'))
) with (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- Who waits for whom. is_attached: the end of the parent counts itself. The producer cannot know
-- whether a parent that another transaction has committed ends meanwhile, and does not lock the
-- parent to find out. So such an edge is attached after the producer's commit (_jobs_flow_attach).
create table if not exists jobs_flow_edges (
    parent_id bigint not null,
    child_id bigint not null,
    is_attached boolean not null,
    constraint jobs_flow_edges_parent_and_child_are_the_key
        primary key (parent_id, child_id)
) with (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- What has changed among the parents of a job since its flow was counted. Whoever ends, adds or
-- retries parents inserts a row, and waits for nobody. Who counts has the child's lock
-- (_jobs_flow_resolve). kept: parents that stay only for this job. culprit: a parent that failed.
create table if not exists jobs_flow_changes (
    child_id bigint not null,
    parents int not null default 0,
    completed int not null default 0,
    failed int not null default 0,
    cancelled int not null default 0,
    kept int not null default 0,
    culprit bigint,
    noted_at jobs_moment not null default clock_timestamp()
) with (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

do $index_of_attempts$
begin
    -- What failed lately: the newest first. Attempts end one after the other, so each entry goes to
    -- the last page of the index.
    if to_regclass('ix_jobs_attempts_ended') is null then
        create index ix_jobs_attempts_ended
            on jobs_attempts (ended_at);
    end if;
end
$index_of_attempts$;

do $indexes_of_flows$
begin
    if to_regclass('ix_jobs_flow_edges_child') is null then
        create index ix_jobs_flow_edges_child
            on jobs_flow_edges (child_id);
    end if;
    if to_regclass('ix_jobs_flow_edges_loose') is null then
        create index ix_jobs_flow_edges_loose
            on jobs_flow_edges (child_id, parent_id)
            where not is_attached;
    end if;
    if to_regclass('ix_jobs_flow_changes_child') is null then
        create index ix_jobs_flow_changes_child
            on jobs_flow_changes (child_id);
    end if;
    if to_regclass('ix_jobs_flows_counted') is null then
        create index ix_jobs_flows_counted
            on jobs_flows (counted_at);
    end if;
    -- What a tick tidies up: flows that keep parents which nobody else needs.
    if to_regclass('ix_jobs_flows_keeping') is null then
        create index ix_jobs_flows_keeping
            on jobs_flows (job_id)
            where keeps_parents;
    end if;
end
$indexes_of_flows$;

do $indexes_of_watches$
begin
    -- Whoever ends jobs looks for watches by the ids of those jobs alone. So the watches of other
    -- jobs, and what vacuum cannot remove yet, cost nothing there.
    if to_regclass('ix_jobs_watched_job') is null then
        create index ix_jobs_watched_job
            on jobs_watched (job_id);
    end if;
    if to_regclass('ix_jobs_watched_until') is null then
        create index ix_jobs_watched_until
            on jobs_watched (watched_until);
    end if;
end
$indexes_of_watches$;

do $indexes_of_groups$
begin
    if to_regclass('ix_jobs_turns_due') is null then
        create index ix_jobs_turns_due
            on jobs_turns (queue, job_type, turn_at);
    end if;
    if to_regclass('ix_jobs_turns_group') is null then
        create index ix_jobs_turns_group
            on jobs_turns (queue, group_key);
    end if;
    if to_regclass('ix_jobs_starts_until') is null then
        create index ix_jobs_starts_until
            on jobs_starts (counts_until);
    end if;
    -- Whoever ends a job asks by one probe whether any queue has a limit.
    if to_regclass('ix_jobs_queues_ends') is null then
        create index ix_jobs_queues_ends
            on jobs_queues (ends_free_places)
            where ends_free_places;
    end if;
end
$indexes_of_groups$;

-- Each statement that enqueues reads this table, so a row changes only when its worker starts or
-- stops: dead versions that a held snapshot keeps would slow down every producer.
create table if not exists jobs_workers (
    worker text collate "C" not null,
    started_at jobs_moment not null default clock_timestamp(),
    queues text[] not null,
    job_types text[],
    concurrency int not null,
    version text,
    name_key bigint not null,
    listening_key bigint not null,
    polling_key bigint not null,
    constraint jobs_workers_worker_is_the_key
        primary key (worker)
);

-- What the clock enqueues. next_at: the next tick, null after the last one.
create table if not exists jobs_schedules (
    name text collate "C" not null,
    job_type text collate "C" not null,
    cron text,
    every interval,
    timezone text not null default 'UTC',
    payload jsonb not null default '{}',
    queue text collate "C" not null default 'default',
    priority jobs_priority not null default 0,
    max_retries jobs_count not null default 3,
    backoff jobs_backoff,
    group_key jobs_group_key,
    missed text not null default 'latest',
    missed_within interval,
    overlap text not null default 'skip',
    starts_at jobs_moment,
    ends_at jobs_moment,
    paused_at jobs_moment,
    next_at jobs_moment,
    last_at jobs_moment,
    recent_job_ids bigint[] not null default '{}',
    error text,
    declared jsonb,
    created_at jobs_moment not null default clock_timestamp(),
    updated_at jobs_moment not null default clock_timestamp(),
    constraint jobs_schedules_name_is_the_key
        primary key (name),
    constraint jobs_schedules_name_has_at_most_500_bytes
        check (octet_length(name) between 1 and 500),
    constraint jobs_schedules_has_either_cron_or_every
        check (num_nonnulls(cron, every) = 1)
);

-- How long ended jobs stay. next_at to error are the workers' (see _jobs_retention_sweep).
create table if not exists jobs_retention (
    status text collate "C" not null,
    job_type text collate "C",
    keep_for interval not null,
    next_at jobs_moment not null default clock_timestamp(),
    healed_at jobs_moment,
    types text[],
    deleted_to jobs_moment,
    round_to jobs_moment,
    round_place int not null default 1,
    round_from jobs_moment,
    error text,
    declared jsonb,
    created_at jobs_moment not null default clock_timestamp(),
    updated_at jobs_moment not null default clock_timestamp(),
    constraint jobs_retention_status_and_job_type_are_the_key
        unique nulls not distinct (status, job_type),
    constraint jobs_retention_status_is_final
        check (status in ('completed', 'failed', 'cancelled'))
);

create table if not exists jobs_worker_ticks (
    worker text collate "C" not null,
    seen_at jobs_moment not null default clock_timestamp(),
    missed_at jobs_moment,
    beats_until jobs_moment,
    leases_until jobs_moment,
    constraint jobs_worker_ticks_worker_is_the_key
        primary key (worker)
) with (fillfactor = 50);

do $index_of_schedules$
begin
    -- One probe finds what is due, however many wait.
    if to_regclass('ix_jobs_schedules_due') is null then
        create index ix_jobs_schedules_due
            on jobs_schedules (next_at)
            where paused_at is null and next_at is not null;
    end if;
end
$index_of_schedules$;

comment on table jobs is
    'pgjobs: one row is one job. Change it by the jobs_... functions; read it as you like.';
comment on column jobs.id is 'the job''s number';
comment on column jobs.created_at is 'when it was enqueued';
comment on column jobs.queue is 'queue''s name';
comment on column jobs.job_type is 'which handler runs it';
comment on column jobs.reference_type is 'kind of the job''s entity, for example file_upload';
comment on column jobs.reference_id is 'id of the entity, if a number';
comment on column jobs.reference_key is 'id of the entity, if not a number';
comment on column jobs.group_key is 'group that shares the limits of a queue, and takes turns';
comment on column jobs.priority is 'higher first, from -9 to 9';
comment on column jobs.headers is 'metadata beside the payload: a JSON object';
comment on column jobs.payload is 'what the handler is given';
comment on column jobs.progress is 'what the handler reported last';
comment on column jobs.result is 'what the handler returned';
comment on column jobs.error is 'latest failure or cancel reason';
comment on column jobs.status is 'pending, processing, blocked, completed, failed or cancelled';
comment on column jobs.retry_count is 'retries spent by failures';
comment on column jobs.max_retries is
    'retries allowed after failures; after losses as many, but at least 1 and at most 3';
comment on column jobs.crash_count is 'how often the job lost its worker';
comment on column jobs.backoff is
    'delay before each retry, the last repeats; null: 5 s, 30 s, 3 min, 18 min, then 1 h';
comment on column jobs.attempt is 'times claimed; attempt and worker are the fence';
comment on column jobs.run_at is 'earliest start';
comment on column jobs.expires_at is 'latest start, or the job ends cancelled';
comment on column jobs.started_at is 'when the last attempt was claimed';
comment on column jobs.batch_id is 'the batch that the job is a member of: its callback''s id';
comment on column jobs.depends_on_left is 'how many parents a blocked job waits for';
comment on column jobs.marks is
    'bit 1: deleted when its watch is over; reserved: bit 2: dependent jobs do not know the end yet';
comment on column jobs.unique_key is 'one job per job_type and key';
comment on column jobs.unique_scope is
    'the job holds its key until: its end (live), its deletion (kept), its start (pending), or'
    ' unique_until (period)';
comment on column jobs.unique_until is 'end of the scope period';
comment on column jobs.worker is 'worker that holds the job; null: none';
comment on column jobs.lease_until is 'end of the lease; null: no end';
comment on column jobs.cancel_requested_at is 'when the worker was asked to stop';
comment on column jobs.updated_at is 'last change, heartbeats excepted';
comment on column jobs.finished_at is 'when it reached a final status';
comment on table jobs_queues is 'pgjobs: queues that were paused or have limits or groups';
comment on column jobs_queues.paused_at is 'since when claims skip the queue; null: open';
comment on column jobs_queues.paused_until is 'when the queue opens by itself; null: by jobs_resume';
comment on column jobs_queues.pause_reason is 'why it is paused, for people';
comment on column jobs_queues.max_running is 'how many of its jobs may run at once; null: any';
comment on column jobs_queues.max_running_per_group is
    'how many jobs of each group may run at once; null: any';
comment on column jobs_queues.rate_count is
    'how many of its jobs may start within any rate_period; null: any';
comment on column jobs_queues.rate_period is 'see rate_count';
comment on column jobs_queues.group_rate_count is
    'how many jobs of each group may start within any group_rate_period; null: any';
comment on column jobs_queues.group_rate_period is 'see group_rate_count';
comment on column jobs_queues.in_order is
    'a job of a group that waits for its retry holds back the others of the group';
comment on column jobs_queues.has_groups is 'claims look for turns of groups';
comment on column jobs_queues.ends_free_places is
    'the end of a job may let another one start';
comment on column jobs_queues.declared is
    'limits that code declared last, with its app and the hashes of what code declared before';
comment on table jobs_turns is
    'pgjobs: which groups claims look at, and from when on; the functions keep it';
comment on column jobs_turns.job_type is 'type of a pending job of the group';
comment on column jobs_turns.turn_at is 'not before';
comment on column jobs_turns.full_since is
    'since when the group has had as many running jobs as it may; null: there is news';
comment on table jobs_turns_from is
    'pgjobs: from which moment on claims read the turns of a queue; the functions keep it';
comment on column jobs_turns_from.turns_from is 'no turn is earlier';
comment on column jobs_turns_from.marked_at is
    'no transaction from marked_xid on inserts an earlier turn';
comment on column jobs_turns_from.marked_xid is 'a transaction that began at marked_at';
comment on table jobs_starts is 'pgjobs: the latest starts where a rate counts them';
comment on column jobs_starts.group_key is 'empty: the queue itself';
comment on column jobs_starts.moments is 'when jobs started, the earliest first';
comment on column jobs_starts.counts is 'how many at each of the moments';
comment on column jobs_starts.counts_until is 'from then on the row says nothing';
comment on table jobs_attempts is
    'pgjobs: attempts that failed or were lost, the last 20 of each job; the functions keep it';
comment on column jobs_attempts.outcome is 'failed, or lost with its worker or child process';
comment on column jobs_attempts.error_kind is 'class of the exception';
comment on column jobs_attempts.error is 'what was raised, as in jobs.error';
comment on column jobs_attempts.due_at is 'run_at of the attempt: how long it waited';
comment on table jobs_ends is
    'pgjobs: how attempts ended, not added up yet; the functions keep it';
comment on table jobs_history is
    'pgjobs: how many attempts ended per minute and per hour, and how long they waited and ran';
comment on column jobs_history.span is '1 minute, or 1 hour';
comment on column jobs_history.starts_at is 'begin of the minute or the hour';
comment on column jobs_history.queue is 'null: the sum of all sets of labels beyond the 1,000th';
comment on column jobs_history.outcome is
    'completed, failed, cancelled; retried: failed, and tried again; lost with its worker, and tried'
    ' again';
comment on column jobs_history.waited_s is 'sum of the seconds from run_at to the start';
comment on column jobs_history.waits is
    'how many waited for up to 2 ms, 4 ms, 8 ms ... 4,194 s, and for longer';
comment on column jobs_history.ran_s is 'sum of the seconds from the start to the end';
comment on column jobs_history.runs is 'how many ran for up to 2 ms, 4 ms, 8 ms ... 4,194 s, and longer';
comment on table jobs_totals is
    'pgjobs: how many attempts have ended since the installation; the functions keep it';
comment on column jobs_totals.sets is
    'how many sets of labels the row sums up: the most that were added at once';
comment on column jobs_totals.counted_at is 'when the row last grew';
comment on table jobs_durations is
    'pgjobs: how long attempts waited and ran since the installation; the functions keep it';
comment on table jobs_audit is
    'pgjobs: who has changed what, for 400 days; the managing functions write it';
comment on column jobs_audit.job_id is 'the job, where the call was about one';
comment on column jobs_audit.jobs is 'how many jobs were changed; null: the call was not about jobs';
comment on column jobs_audit.db_role is 'the role that logged in';
comment on column jobs_audit.set_role is 'the role that set role chose; null: none, or the same';
comment on column jobs_audit.actor is
    'the user that the program told by the setting pgjobs.actor; null: none was told';
comment on column jobs_audit.action is 'the verb: of jobs_cancel and jobs_cancel_many cancel';
comment on column jobs_audit.filters is
    'what the call was given, by name; of a payload never more than that it was given';
comment on column jobs_audit.reason is 'why, if the caller said so';
comment on table jobs_watched is
    'pgjobs: jobs that somebody waits for: jobs_watch makes the rows, jobs_outcomes ends them';
comment on column jobs_watched.watched_until is 'from then on a tick of a worker deletes the row';
comment on table jobs_flows is
    'pgjobs: jobs that wait or waited for others, their parents; the functions keep it';
comment on column jobs_flows.job_id is 'the job that waits; of a batch its callback';
comment on column jobs_flows.on_parent_failed is 'cancel, run, wait or only';
comment on column jobs_flows.is_open is 'more members may be added from outside';
comment on column jobs_flows.parents is 'how many there are; of a batch its members too';
comment on column jobs_flows.keeps_parents is 'some parents stay only for this job';
comment on column jobs_flows.counted_at is 'when the counts were last compared with the parents';
comment on table jobs_flow_edges is 'pgjobs: which job waits for which';
comment on column jobs_flow_edges.is_attached is 'the end of the parent counts itself';
comment on table jobs_flow_changes is
    'pgjobs: what changed among the parents of a job since its flow was counted';
comment on column jobs_flow_changes.kept is 'parents that stay only for this job';
comment on column jobs_flow_changes.culprit is 'a parent that failed, was cancelled or is gone';
comment on table jobs_workers is
    'pgjobs: one row per worker; the worker''s session holds the advisory locks';
comment on column jobs_workers.job_types is 'types with a handler; null: all';
comment on column jobs_workers.name_key is
    'advisory lock that the living worker''s session holds';
comment on column jobs_workers.listening_key is
    'advisory lock that the session holds in mode listening; another key at each start';
comment on column jobs_workers.polling_key is
    'advisory lock that the session holds in mode polling; another key at each start';
comment on table jobs_schedules is
    'pgjobs: what the clock enqueues. Change it by jobs_schedule and its kin.';
comment on column jobs_schedules.name is 'the schedule''s name';
comment on column jobs_schedules.cron is 'five fields, or @daily and the like; null: see every';
comment on column jobs_schedules.every is
    'time between two ticks, counted from starts_at or from 1970; null: see cron';
comment on column jobs_schedules.timezone is 'whose clocks cron means';
comment on column jobs_schedules.missed is
    'which ticks are made up for after nobody could fire: latest, all or none';
comment on column jobs_schedules.missed_within is 'older ticks are not made up for; null: no limit';
comment on column jobs_schedules.overlap is
    'at a tick while the last job has not ended: skip it, allow both, or replace what waits';
comment on column jobs_schedules.starts_at is 'no tick before; null: no limit';
comment on column jobs_schedules.ends_at is 'no tick after; null: no limit';
comment on column jobs_schedules.paused_at is 'since when its ticks pass unused; null: not paused';
comment on column jobs_schedules.next_at is 'the next tick; null: none is left';
comment on column jobs_schedules.last_at is 'the latest tick that gave a job';
comment on column jobs_schedules.recent_job_ids is 'its four latest jobs, the newest first';
comment on column jobs_schedules.error is 'why the latest tick gave no job; null: it could';
comment on column jobs_schedules.declared is
    'what code declared last, which app and when, and what code declared before';
comment on table jobs_retention is
    'pgjobs: how long ended jobs stay. Change it by jobs_retain.';
comment on column jobs_retention.job_type is 'null: all types that have no rule of their own';
comment on column jobs_retention.keep_for is 'how long after its end a job is deleted';
comment on column jobs_retention.next_at is 'when workers look next for jobs to delete';
comment on column jobs_retention.healed_at is
    'when a round last began with the oldest job; null: the next one does';
comment on column jobs_retention.types is
    'the types of a round, each a range of an index; null: one range for all types';
comment on column jobs_retention.deleted_to is 'what ended before this is deleted; null: nothing';
comment on column jobs_retention.round_to is
    'the round that is under way deletes what ended before this; null: none is under way';
comment on column jobs_retention.round_place is 'the type that the round has come to';
comment on column jobs_retention.round_from is
    'of that type, what ended before this is deleted; null: nothing';
comment on column jobs_retention.error is 'why a job could not be deleted';
comment on column jobs_retention.declared is
    'what code declared last, with its app and the hashes of what code declared before';
comment on table jobs_worker_ticks is
    'pgjobs: when each worker was seen; apart from jobs_workers because it changes often';
comment on column jobs_worker_ticks.seen_at is 'last start or tick';
comment on column jobs_worker_ticks.missed_at is 'when the session was found gone';
comment on column jobs_worker_ticks.beats_until is
    'until then the worker''s heartbeats are fresh, so that no lease of its jobs counts as over';
comment on column jobs_worker_ticks.leases_until is
    'until then lasts a lease that the worker''s last heartbeat prolonged';


-- The functions and views: made anew every time.
-- install/replace.sql
-- `create or replace` with one more argument makes a second function, and with another result or
-- a renamed argument it fails. So this drops each function that differs from
-- sql/install/signatures.sql, and keeps its owner and grants for sql/install/regrant.sql.
do $replace$
declare
    v_old record;
    v_lost jsonb := '[]';
begin
    for v_old in
        with expected as (
            select s.name, btrim(regexp_replace(s.arguments, '\s+', ' ', 'g')) as arguments,
                btrim(regexp_replace(s.result, '\s+', ' ', 'g')) as result
            from json_to_recordset(current_setting('pgjobs.signatures')::json)
                as s (name text, arguments text, result text)
        ), present as (
            select p.proname as name, pg_get_function_arguments(p.oid) as arguments,
                pg_get_function_result(p.oid) as result, 'routine' as kind,
                p.oid::regprocedure::text as target, p.proowner as owner, p.proacl as acl
            from pg_proc p
            where p.pronamespace = quote_ident(current_schema())::regnamespace
            union all
            select c.relname, (
                    select string_agg(format('%I %s', a.attname,
                        format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum)
                    from pg_attribute a where a.attrelid = c.oid and a.attnum > 0),
                'view', 'view', c.oid::regclass::text, c.relowner, c.relacl
            from pg_class c
            where c.relnamespace = quote_ident(current_schema())::regnamespace and c.relkind = 'v'
        )
        select present.*, expected.result is null as retired
        from present
        join expected using (name)
        where expected.arguments is distinct from present.arguments
            or expected.result is distinct from present.result
        -- Views first: they may call the functions.
        order by present.kind desc
    loop
        execute format('drop %s %s', v_old.kind, v_old.target);
        if not v_old.retired then
            v_lost := v_lost || jsonb_build_object(
                'name', v_old.name,
                'kind', v_old.kind,
                'owner', pg_get_userbyid(v_old.owner),
                'granted', v_old.acl is not null,
                'grants', (
                    select coalesce(jsonb_agg(jsonb_build_object(
                        'privilege', g.privilege_type,
                        'to', case g.grantee when 0 then 'public'
                            else quote_ident(pg_get_userbyid(g.grantee)) end,
                        'grantable', g.is_grantable)), '[]')
                    from aclexplode(v_old.acl) g));
        end if;
    end loop;
    perform set_config('pgjobs.lost', v_lost::text, true);
end
$replace$;

-- begin of the generated list
-- functions/enqueue: how a job gets in, and how workers are notified
-- functions/enqueue/jobs_enqueue.sql
-- Two sessions with one unique_key cannot both win: the partial unique index lets one insert pass
-- and makes the other wait for that. Then the loser reads the winner's row (_jobs_on_conflict). The
-- winner's job may begin or end between those two statements, so the loser tries again.
--
-- `on conflict` names no index, so that it heeds each unique index: also the one that
-- `reindex concurrently` builds beside ix_jobs_unique_key, and the primary key, where the sequence
-- of the ids may be behind.
create or replace function jobs_enqueue(
    job_type text,
    payload jsonb default '{}',
    queue text default 'default',
    priority int default 0,
    run_at timestamptz default null,
    reference_type text default null,
    reference_id bigint default null,
    max_retries int default 3,
    unique_key text default null,
    unique_scope text default 'live',
    backoff interval[] default null,
    reference_key text default null,
    group_key text default null,
    headers jsonb default null,
    expires_at timestamptz default null,
    depends_on bigint[] default null,
    on_parent_failed text default 'cancel',
    batch_id bigint default null,
    on_conflict text default 'return',
    unique_for interval default null,
    max_wait interval default null
) returns setof jobs
language plpgsql volatile security definer rows 1
set search_path from current
as $$
#variable_conflict use_column
declare
    v_unique_until timestamptz;
begin
    if jobs_enqueue.depends_on <> '{}' or jobs_enqueue.batch_id is not null
        or jobs_enqueue.on_parent_failed <> 'cancel'
    then
        return query
        select b.* from _jobs_enqueue_bound(
            jobs_enqueue.job_type, jobs_enqueue.payload, jobs_enqueue.queue, jobs_enqueue.priority,
            jobs_enqueue.run_at, jobs_enqueue.reference_type, jobs_enqueue.reference_id,
            jobs_enqueue.max_retries, jobs_enqueue.unique_key, jobs_enqueue.unique_scope,
            jobs_enqueue.backoff, jobs_enqueue.reference_key, jobs_enqueue.group_key,
            jobs_enqueue.headers, jobs_enqueue.expires_at, jobs_enqueue.depends_on,
            jobs_enqueue.on_parent_failed, jobs_enqueue.batch_id, jobs_enqueue.on_conflict,
            jobs_enqueue.unique_for, jobs_enqueue.max_wait) b;
        return;
    end if;
    perform _jobs_check_job(
        jobs_enqueue.job_type, jobs_enqueue.queue, jobs_enqueue.priority, jobs_enqueue.run_at,
        jobs_enqueue.reference_type, jobs_enqueue.max_retries, jobs_enqueue.unique_key,
        jobs_enqueue.unique_scope, jobs_enqueue.backoff, jobs_enqueue.reference_key,
        jobs_enqueue.group_key, jobs_enqueue.headers, jobs_enqueue.expires_at);
    if jobs_enqueue.unique_key is not null or jobs_enqueue.on_conflict <> 'return'
        or jobs_enqueue.unique_for is not null or jobs_enqueue.max_wait is not null
    then
        perform _jobs_check_unique(
            jobs_enqueue.unique_key, jobs_enqueue.unique_scope, jobs_enqueue.on_conflict,
            jobs_enqueue.unique_for, jobs_enqueue.max_wait);
        v_unique_until := _jobs_after(clock_timestamp(), jobs_enqueue.unique_for);
        -- Read before the insert, so that it is not later than created_at + max_wait.
        if jobs_enqueue.max_wait is not null then
            run_at := least(coalesce(jobs_enqueue.run_at, clock_timestamp()),
                            _jobs_after(clock_timestamp(), jobs_enqueue.max_wait));
        end if;
    end if;
    for v_try in 1..100 loop
        return query
        insert into jobs as j (
            job_type, payload, queue, priority, run_at, reference_type, reference_id, max_retries,
            unique_key, unique_scope, backoff, reference_key, group_key, headers, expires_at,
            unique_until)
        values (
            jobs_enqueue.job_type, coalesce(jobs_enqueue.payload, '{}'),
            coalesce(jobs_enqueue.queue, 'default'), coalesce(jobs_enqueue.priority, 0),
            coalesce(jobs_enqueue.run_at, clock_timestamp()), jobs_enqueue.reference_type,
            jobs_enqueue.reference_id, coalesce(jobs_enqueue.max_retries, 3),
            jobs_enqueue.unique_key, coalesce(jobs_enqueue.unique_scope, 'live'),
            jobs_enqueue.backoff, jobs_enqueue.reference_key, jobs_enqueue.group_key,
            jobs_enqueue.headers, jobs_enqueue.expires_at, v_unique_until)
        on conflict do nothing
        returning j.*;
        if found then
            return;
        end if;
        return query
        select c.* from _jobs_on_conflict(
            jobs_enqueue.job_type, jobs_enqueue.payload, jobs_enqueue.queue, jobs_enqueue.priority,
            jobs_enqueue.run_at, jobs_enqueue.reference_type, jobs_enqueue.reference_id,
            jobs_enqueue.max_retries, jobs_enqueue.unique_key, jobs_enqueue.backoff,
            jobs_enqueue.reference_key, jobs_enqueue.group_key, jobs_enqueue.headers,
            jobs_enqueue.expires_at, jobs_enqueue.on_conflict, jobs_enqueue.max_wait) c;
        if found then
            return;
        end if;
    end loop;
    raise exception using errcode = 'JQ004',
        message = format('a unique index or a trigger of the table jobs that pgjobs did not make '
            'refuses the job of type %s%s', jobs_enqueue.job_type,
            format(', or its unique_key %L changed hands too often: then try again',
                   jobs_enqueue.unique_key));
end
$$;

comment on function jobs_enqueue is
    'adds a job and returns it, or returns or replaces the job of that type that holds the key';

-- functions/enqueue/jobs_enqueue_many.sql
-- All or nothing. The insert and its order are in _jobs_enqueue_together.
create or replace function jobs_enqueue_many(jobs jsonb) returns setof bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_plain constant text[] := '{job_type,payload,queue,priority,run_at,reference_type,'
        'reference_id,max_retries,backoff,reference_key}';
    v_known constant text[] := v_plain || '{unique_key,unique_scope,group_key,headers,expires_at,'
        'on_conflict,unique_for,max_wait,depends_on,on_parent_failed,batch_id,ref}';
    v_is_plain boolean;
    v_ids bigint[];
    v_item record;
    v_why text;
    v_constraint text;
begin
    if jsonb_typeof(jobs_enqueue_many.jobs) is distinct from 'array' then
        raise exception using errcode = 'JQ003', message = 'jobs must be an array of objects';
    end if;
    v_is_plain := not exists (
        select from jsonb_array_elements(jobs_enqueue_many.jobs) i(item)
        where case when jsonb_typeof(i.item) = 'object' then i.item - v_plain <> '{}' else true end);
    if not v_is_plain then
        select format('jobs[%s] %s', i.place - 1, case
                when jsonb_typeof(i.item) <> 'object' then 'must be an object'
                else format('has the unknown key %I; known: %s',
                            (select min(key) from jsonb_object_keys(i.item - v_known) key), v_known)
                end)
        into v_why
        from jsonb_array_elements(jobs_enqueue_many.jobs) with ordinality i(item, place)
        where case when jsonb_typeof(i.item) = 'object' then i.item - v_known <> '{}' else true end
        limit 1;
        if v_why is not null then
            raise exception using errcode = 'JQ003', message = v_why;
        end if;
    end if;

    -- For values that do not fit. Rows of a `return query` here would survive the error.
    begin
        v_ids := array(
            select a.id from _jobs_enqueue_together(jobs_enqueue_many.jobs, v_is_plain) a);
    exception
        when sqlstate 'JQ003' or data_exception or integrity_constraint_violation
            or feature_not_supported or program_limit_exceeded
        then
            get stacked diagnostics v_why = message_text, v_constraint = constraint_name;
            if v_constraint = 'jobs_id_is_the_key' then
                perform _jobs_check_ids();
                -- The sequence is behind no more: it has used up the id that was taken.
                return query
                select a.id from _jobs_enqueue_together(jobs_enqueue_many.jobs, v_is_plain) a;
                return;
            end if;
            v_why := case when v_why like 'jobs[%' then '' else 'jobs: ' end || v_why;
            -- Which object is wrong? The checks need no insert, so they wait for no other session.
            for v_item in
                select i.item, i.place - 1 as place
                from jsonb_array_elements(jobs_enqueue_many.jobs) with ordinality i(item, place)
            loop
                begin
                    perform _jobs_check_job(
                        i.job_type, i.queue, i.priority, i.run_at, i.reference_type, i.max_retries,
                        i.unique_key, i.unique_scope, i.backoff, i.reference_key, i.group_key,
                        i.headers, i.expires_at),
                        _jobs_check_unique(i.unique_key, i.unique_scope, i.on_conflict,
                            i.unique_for, i.max_wait),
                        (select _jobs_check_flow(f.depends_on, f.on_parent_failed, i.on_conflict)
                         from _jobs_unpack_flow(jsonb_build_array(v_item.item)) f)
                    from _jobs_unpack(jsonb_build_array(v_item.item), false) i;
                exception
                    when sqlstate 'JQ003' or data_exception or feature_not_supported
                        or program_limit_exceeded
                    then
                        v_why := format('jobs[%s]: %s', v_item.place, sqlerrm);
                        exit;
                end;
            end loop;
            raise exception using errcode = 'JQ003', message = v_why;
    end;
    return query select unnest(v_ids);
end
$$;

comment on function jobs_enqueue_many is
    'adds the jobs of a JSON array of objects, whose keys are the arguments of jobs_enqueue';

-- functions/enqueue/_jobs_check_ids.sql
create or replace function _jobs_check_ids() returns void
language plpgsql stable
set search_path from current
as $$
declare
    v_mend text := _jobs_ids_behind();
begin
    if v_mend is not null then
        raise exception using errcode = 'JQ005',
            message = 'the sequence of jobs.id is behind the ids of the table, so the next ids are '
                'taken, and nothing was added; as the owner of the table: ' || v_mend,
            hint = 'Rows came in with their ids, by COPY or logical replication for example.';
    end if;
end
$$;

comment on function _jobs_check_ids is
    'internal: raises if the sequence of jobs.id gives ids that other rows have';

-- functions/enqueue/_jobs_check_job.sql
-- The limits of a new job, for jobs_enqueue. The table's constraints are weaker: they alone check a
-- batch without keys.
create or replace function _jobs_check_job(
    job_type text,
    queue text,
    priority int,
    run_at timestamptz,
    reference_type text,
    max_retries int,
    unique_key text,
    unique_scope text,
    backoff interval[],
    reference_key text,
    group_key text,
    headers jsonb,
    expires_at timestamptz
) returns void
language plpgsql immutable
set search_path from current
as $$
declare
    v_problem text;
begin
    v_problem := case
        when job_type is null then 'job_type is missing'
        when octet_length(job_type) not between 1 and 512 then 'job_type must have 1 to 512 bytes'
        when octet_length(queue) not between 1 and 512 then 'queue must have 1 to 512 bytes'
        when priority not between -9 and 9
            then format('priority must be from -9 to 9, not %s', priority)
        -- A client's datetime cannot hold other moments: a claim that returns one would fail in
        -- every worker.
        when not (run_at >= '0001-01-02 00:00:00+00' and run_at < '9999-12-31 00:00:00+00')
            then format('run_at must be a moment in the years 1 to 9999, not %s', run_at)
        when octet_length(reference_type) not between 1 and 512
            then 'reference_type must have 1 to 512 bytes'
        when octet_length(reference_key) not between 1 and 512
            then 'reference_key must have 1 to 512 bytes'
        when octet_length(group_key) not between 1 and 512
            then 'group_key must have 1 to 512 bytes'
        when jsonb_typeof(headers) <> 'object' then 'headers must be a JSON object'
        when not (expires_at >= '0001-01-02 00:00:00+00'
                  and expires_at < '9999-12-31 00:00:00+00')
            then format('expires_at must be a moment in the years 1 to 9999, not %s', expires_at)
        when max_retries < 0 then format('max_retries must be 0 or more, not %s', max_retries)
        when octet_length(unique_key) not between 1 and 512
            then 'unique_key must have 1 to 512 bytes'
        when unique_scope not in ('live', 'kept', 'pending', 'period')
            then format('unique_scope must be live, kept, pending or period, not %s',
                        left(unique_scope, 40))
        when cardinality(backoff) = 0 or array_ndims(backoff) > 1 or array_lower(backoff, 1) <> 1
            then 'backoff must be a list of one or more delays'
        when array_position(backoff, null) is not null then 'backoff must not hold nulls'
        when backoff is not null and not _jobs_valid_delays(backoff)
            then 'backoff must hold delays from 0 to 100 years'
    end;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
end
$$;

comment on function _jobs_check_job is 'internal: raises if an argument is invalid';

-- functions/enqueue/_jobs_check_unique.sql
-- What a new job says about its unique_key, for who says anything about it.
create or replace function _jobs_check_unique(
    unique_key text,
    unique_scope text,
    on_conflict text,
    unique_for interval,
    max_wait interval
) returns void
language plpgsql stable
set search_path from current
as $$
declare
    v_problem text;
begin
    v_problem := case
        when on_conflict not in ('return', 'raise', 'replace', 'debounce')
            then format('on_conflict must be return, raise, replace or debounce, not %s',
                        left(on_conflict, 40))
        when unique_key is null and on_conflict <> 'return'
            then format('on_conflict %s needs a unique_key', on_conflict)
        when unique_key is null and unique_for is not null then 'unique_for needs a unique_key'
        when unique_key is null and max_wait is not null then 'max_wait needs a unique_key'
        when unique_scope = 'period' and unique_key is not null and unique_for is null
            then 'unique_for is missing: unique_scope period needs the length of the period'
        when unique_for is not null and coalesce(unique_scope, 'live') <> 'period'
            then 'unique_for is the length of a period: give unique_scope period'
        when unique_for <= '0' or not _jobs_valid_delays(array[unique_for])
            then format('unique_for must be above 0 and at most 100 years, not %s', unique_for)
        when on_conflict = 'debounce' and max_wait is null
            then 'max_wait is missing: on_conflict debounce needs it, or a job that is debounced '
                'again and again would never run'
        when max_wait is not null and coalesce(on_conflict, 'return') <> 'debounce'
            then 'max_wait is for a job that waits longer at each call: give on_conflict debounce'
        when max_wait <= '0' or not _jobs_valid_delays(array[max_wait])
            then format('max_wait must be above 0 and at most 100 years, not %s', max_wait)
    end;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
    -- Without the index each job with the key would be added, as after a restore of a part of a
    -- dump.
    if unique_key is not null and to_regclass('ix_jobs_unique_key') is null then
        raise exception using errcode = 'JQ005',
            message = 'the index ix_jobs_unique_key is missing, so no job can hold a unique_key, and '
                'nothing was added',
            hint = 'pgjobs sql | psql -v schema=... makes it again.';
    end if;
end
$$;

comment on function _jobs_check_unique is
    'internal: raises if an argument about the unique_key is invalid';

-- functions/enqueue/_jobs_enqueue_together.sql
-- Adds all jobs of a batch or none, by one insert. If an object has a unique_key, or a key that
-- needs one, all objects go one by one through jobs_enqueue. They go in the order of type and key,
-- so that two such calls never deadlock. A single object goes through jobs_enqueue too, which names
-- the wrong argument. Jobs that name parents or a batch go through _jobs_enqueue_flow. The rows come back in the order of the objects. is_plain: no object has a key
-- that _jobs_unpack then does not look for, nor a unique_key.
create or replace function _jobs_enqueue_together(
    jobs jsonb,
    is_plain boolean default false
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set jit = off
as $$
#variable_conflict use_column
begin
    if not is_plain and jsonb_path_exists(
        _jobs_enqueue_together.jobs, '$[*] ? (exists(@.depends_on.type() ? (@ != "null"))
            || exists(@.batch_id.type() ? (@ != "null")) || exists(@.ref.type() ? (@ != "null"))
            || exists(@.on_parent_failed.type() ? (@ != "null")))')
    then
        return query select f.* from _jobs_enqueue_flow(_jobs_enqueue_together.jobs) f;
        return;
    end if;
    if jsonb_array_length(_jobs_enqueue_together.jobs) = 1 or not is_plain and jsonb_path_exists(
        _jobs_enqueue_together.jobs, '$[*] ? (exists(@.unique_key.type() ? (@ != "null"))
            || exists(@.on_conflict.type() ? (@ != "null"))
            || exists(@.unique_for.type() ? (@ != "null"))
            || exists(@.max_wait.type() ? (@ != "null")))')
    then
        return query
        select e.*
        from (
            select u.* from _jobs_unpack(_jobs_enqueue_together.jobs, false) u
            order by u.job_type collate "C", u.unique_key collate "C", u.place
        ) i
        cross join lateral jobs_enqueue(
            i.job_type, i.payload, i.queue, i.priority, i.run_at, i.reference_type,
            i.reference_id, i.max_retries, i.unique_key, i.unique_scope, i.backoff,
            i.reference_key, i.group_key, i.headers, i.expires_at, on_conflict => i.on_conflict,
            unique_for => i.unique_for, max_wait => i.max_wait) e
        order by i.place;
    else
        return query
        insert into jobs as j (
            job_type, payload, queue, priority, run_at, reference_type, reference_id, max_retries,
            unique_scope, backoff, reference_key, group_key, headers, expires_at)
        select i.job_type, coalesce(i.payload, '{}'), coalesce(i.queue, 'default'),
            coalesce(i.priority, 0), coalesce(i.run_at, clock_timestamp()), i.reference_type,
            i.reference_id, coalesce(i.max_retries, 3), coalesce(i.unique_scope, 'live'),
            i.backoff, i.reference_key, i.group_key, i.headers, i.expires_at
        from _jobs_unpack(_jobs_enqueue_together.jobs, is_plain) i
        order by i.place
        returning j.*;
    end if;
end
$$;

comment on function _jobs_enqueue_together is
    'internal: adds a batch of jobs and returns their rows, for jobs_enqueue_many and producers';

-- functions/enqueue/_jobs_give_way.sql
-- Two sessions cannot both take over a key: each adds its job afterwards, and the unique index lets
-- one of them pass.
--
-- A job gives up its key when its period is over. Where a new job replaces what waits, a job that
-- waits for a retry ends: its attempts and its error are those of its old payload.
create or replace function _jobs_give_way(holder jobs, is_replaced boolean) returns boolean
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    if holder.unique_scope = 'period' and holder.unique_until <= clock_timestamp() then
        update jobs j set unique_key = null
        where j.id = holder.id and j.unique_until = holder.unique_until;
        return true;
    end if;
    if is_replaced and holder.status = 'pending' and holder.attempt > 0 then
        update jobs j
        set status = 'cancelled',
            error = 'replaced by a newer job with its unique_key',
            unique_key = case when j.unique_scope in ('kept', 'period') then null
                else j.unique_key end,
            updated_at = clock_timestamp(),
            finished_at = clock_timestamp()
        where j.id = holder.id and j.status = 'pending';
        -- It may have held back its group.
        perform _jobs_signal_jobs(array[holder.id]), _jobs_count_ends(array[holder.id]);
        return true;
    end if;
    return false;
end
$$;

comment on function _jobs_give_way is
    'internal: frees the key of a job that must not hold it any more; whether to try again';

-- functions/enqueue/_jobs_ids_behind.sql
-- Behind is the sequence of jobs.id after rows came in with their ids: by a COPY or by logical
-- replication, which leaves sequences as they are.
create or replace function _jobs_ids_behind() returns text
language plpgsql stable security definer
set search_path from current
as $$
declare
    v_sequence text := pg_get_serial_sequence('jobs', 'id');
    v_next_id bigint;
begin
    if v_sequence is null then
        return null;
    end if;
    execute format('select s.last_value + s.is_called::int from %s s', v_sequence) into v_next_id;
    if v_next_id > coalesce((select max(j.id) from jobs j), 0) then
        return null;
    end if;
    return format('select setval(%L, (select max(id) from %I.jobs))', v_sequence, current_schema());
end
$$;

comment on function _jobs_ids_behind is
    'internal: the statement that mends the sequence of jobs.id if it is behind; null: it is not';

-- functions/enqueue/_jobs_is_new.sql
-- Each insert takes the next id of the sequence, also an insert that then finds its unique_key
-- held. So the last id that this session took is the id of the job only if jobs_enqueue has added
-- the job.
create or replace function _jobs_is_new(job_id bigint) returns boolean
language sql volatile security definer
set search_path from current
return currval(pg_get_serial_sequence('jobs', 'id')) = job_id;

comment on function _jobs_is_new is
    'internal: whether this session''s last call of jobs_enqueue has added that job';

-- functions/enqueue/_jobs_key_holder.sql
create or replace function _jobs_key_holder(job_type text, unique_key text) returns setof jobs
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
select j.*
from jobs j
where j.job_type = _jobs_key_holder.job_type
    and j.unique_key = _jobs_key_holder.unique_key
    and (case when j.unique_scope <> 'pending' or j.status in ('pending', 'blocked') then 0
         else j.id end) = 0
    and (j.unique_scope <> 'live' or j.finished_at is null)
$$;

comment on function _jobs_key_holder is 'internal: the job of this type that holds the unique_key';

-- functions/enqueue/_jobs_key_successor.sql
-- A job of scope pending stands in ix_jobs_unique_key with its id when it waits no more.
create or replace function _jobs_key_successor(job jobs) returns bigint
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
select j.id
from jobs j
where j.job_type = job.job_type and j.unique_key = job.unique_key
    and (case when j.unique_scope <> 'pending' or j.status in ('pending', 'blocked') then 0
         else j.id end) > job.id
    and (j.unique_scope <> 'live' or j.finished_at is null)
    and j.status <> 'cancelled'
limit 1
$$;

comment on function _jobs_key_successor is
    'internal: a newer job of scope pending that has begun with the key of this job; null: none';

-- functions/enqueue/_jobs_may_read.sql
-- Within a `security definer` function current_user is the function's owner. The caller is the role
-- of `set role`, which only members of that role can set, or else the role that logged in.
create or replace function _jobs_may_read() returns boolean
language sql stable
set search_path from current
return has_table_privilege(
    coalesce(nullif(current_setting('role'), 'none')::name, session_user), 'jobs', 'select');

comment on function _jobs_may_read is
    'internal: whether the caller of a jobs_... function may read the table jobs';

-- functions/enqueue/_jobs_notify.sql
-- Runs after every statement that inserts into jobs: COPY, plain INSERT, jobs_enqueue.
--
-- A commit with NOTIFY holds one lock of the whole cluster until it is on disk, so such commits
-- follow one after the other. So this trigger is silent while a worker polls the queue and serves
-- all the types (docs/decisions/0004-notify-gate.md has the proof that no job waits unseen). Before
-- that the producer takes the queue's gate as a shared lock until after its commit: workers go on
-- looking by themselves while somebody holds it. Silent jobs are due, and not for longer than
-- 0.2 s, because polling workers look no further back. No transaction is silent where it could be
-- prepared: PREPARE TRANSACTION fails after NOTIFY, and shall not fail only now and then. The
-- trigger calls no function per row, because the trigger is most of the cost of a small enqueue.
create or replace function _jobs_notify() returns trigger
language plpgsql volatile security definer
set search_path from current
as $$
begin
    perform _jobs_signal(n.queue, n.run_at, n.levels, n.jobs, n.job_types)
    from (
        select a.queue, min(a.run_at) as run_at, bit_or(1 << a.priority + 9) as levels,
            count(*) as jobs, array_agg(a.job_type) as job_types
        from added a
        where a.status = 'pending'
        group by a.queue
        -- The turns of groups first, whether a signal follows or not.
        having case when count(a.group_key) > 0 then not _jobs_insert_turns(
                array_agg(a.id) filter (where a.group_key is not null)) end
            or max(a.run_at) > clock_timestamp()
            or min(a.run_at) < clock_timestamp() - interval '0.2 seconds'
            -- First by the queue's two places (_jobs_worker_mode): there may be many workers.
            or not (_jobs_is_locked(hashtextextended('polling 1 ' || a.queue, tg_relid::bigint))
                or _jobs_is_locked(hashtextextended('polling 2 ' || a.queue, tg_relid::bigint)))
            or not exists (
                select from jobs_workers w
                where case
                    when a.queue = any (w.queues)
                        and (w.job_types is null or array_agg(a.job_type) <@ w.job_types)
                        and current_setting('max_prepared_transactions') = '0'
                        and pg_try_advisory_xact_lock_shared(
                            hashtextextended('gate ' || a.queue, tg_relid::bigint))
                    -- After the gate: a worker that has stopped polling before has seen no gate.
                    then _jobs_is_locked(w.polling_key)
                    else false
                end)
    ) n;
    return null;
end
$$;

comment on function _jobs_notify is
    'trigger: signals per queue and statement, unless a worker polls the queue';

-- Only if it is missing: `create trigger` waits for all transactions that wrote to the table.
do $trigger$
begin
    if not exists (
        select from pg_trigger t
        where t.tgrelid = 'jobs'::regclass and t.tgname = 'jobs_notify'
            and t.tgfoid = '_jobs_notify()'::regprocedure and t.tgnewtable = 'added'
            and t.tgtype = 4 -- after insert, for each statement
            and t.tgqual is null and t.tgenabled in ('O', 'A')
    ) then
        create or replace trigger jobs_notify
            after insert on jobs
            referencing new table as added
            for each statement
            execute function _jobs_notify();
    end if;
end
$trigger$;

-- functions/enqueue/_jobs_on_conflict.sql
-- Two sessions cannot both win: the second one waits for the row's lock, then changes what the
-- first one has written. A claim skips the row while it is locked. Of a row that a claim took first
-- nothing is changed.
--
-- Returns no row where the key may be free by now: then the caller inserts again. A function of its
-- own, because each row variable costs a lone enqueue a microsecond.
create or replace function _jobs_on_conflict(
    job_type text,
    payload jsonb,
    queue text,
    priority int,
    run_at timestamptz,
    reference_type text,
    reference_id bigint,
    max_retries int,
    unique_key text,
    backoff interval[],
    reference_key text,
    group_key text,
    headers jsonb,
    expires_at timestamptz,
    on_conflict text,
    max_wait interval
) returns setof jobs
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_replaces boolean := coalesce(on_conflict in ('replace', 'debounce'), false);
    v_holder jobs;
    v_job jobs;
begin
    select h.* into v_holder
    from _jobs_key_holder(_jobs_on_conflict.job_type, _jobs_on_conflict.unique_key) h;
    if not found then
        perform _jobs_check_ids();
        return;
    elsif _jobs_give_way(v_holder, v_replaces) then
        return;
    elsif on_conflict = 'raise' then
        raise exception using errcode = 'JQ004',
            message = format('job %s of type %s holds the unique_key %L, and nothing was added',
                             v_holder.id, v_holder.job_type, v_holder.unique_key);
    elsif not v_replaces or v_holder.status not in ('pending', 'blocked') or v_holder.attempt > 0
    then
        -- A producer that may not read jobs could otherwise read them by guessing keys.
        if not _jobs_may_read() then
            v_holder.payload := null;
            v_holder.result := null;
            v_holder.error := null;
            v_holder.headers := null;
            v_holder.progress := null;
        end if;
        return next v_holder;
        return;
    end if;
    update jobs j
    set payload = coalesce(_jobs_on_conflict.payload, '{}'),
        queue = coalesce(_jobs_on_conflict.queue, 'default'),
        priority = coalesce(_jobs_on_conflict.priority, 0),
        run_at = least(coalesce(_jobs_on_conflict.run_at, clock_timestamp()),
                       _jobs_after(j.created_at, max_wait)),
        reference_type = _jobs_on_conflict.reference_type,
        reference_id = _jobs_on_conflict.reference_id,
        reference_key = _jobs_on_conflict.reference_key,
        max_retries = coalesce(_jobs_on_conflict.max_retries, 3),
        backoff = _jobs_on_conflict.backoff,
        group_key = _jobs_on_conflict.group_key,
        headers = _jobs_on_conflict.headers,
        expires_at = _jobs_on_conflict.expires_at,
        error = null,
        updated_at = clock_timestamp()
    where j.id = v_holder.id and j.unique_key = v_holder.unique_key
        and j.status in ('pending', 'blocked') and j.attempt = 0
    returning j.* into v_job;
    if not found then
        return;
    end if;
    -- Workers that sleep know the old place and moment; a later moment they find by themselves.
    if v_job.run_at < v_holder.run_at
        or (v_job.queue, v_job.priority, v_job.group_key)
            is distinct from (v_holder.queue, v_holder.priority, v_holder.group_key)
    then
        perform _jobs_signal_jobs(array[v_job.id]);
    end if;
    return next v_job;
end
$$;

comment on function _jobs_on_conflict is
    'internal: what jobs_enqueue does where a job holds the key: returns, raises or replaces';

-- functions/enqueue/_jobs_unpack.sql
-- jsonb_to_recordset gives null for a payload that is JSON null, and for one that is left out. So
-- such a payload is looked up in its object, which holds only the former.
--
-- is_plain: no object has one of the last keys. Then these are not looked for, because a column of
-- jsonb_to_recordset costs each job 1 % of its enqueue.
create or replace function _jobs_unpack(jobs jsonb, is_plain boolean) returns table (
    job_type text,
    payload jsonb,
    queue text,
    priority int,
    run_at timestamptz,
    reference_type text,
    reference_id bigint,
    max_retries int,
    unique_key text,
    unique_scope text,
    backoff interval[],
    reference_key text,
    group_key text,
    headers jsonb,
    expires_at timestamptz,
    on_conflict text,
    unique_for interval,
    max_wait interval,
    place bigint
)
language sql immutable
set search_path from current
as $$
select i.job_type, coalesce(i.payload, jobs -> (i.place - 1)::int -> 'payload'), i.queue,
    i.priority, i.run_at, i.reference_type, i.reference_id, i.max_retries, i.unique_key,
    i.unique_scope, i.backoff, i.reference_key,
    case when not is_plain then jobs -> (i.place - 1)::int ->> 'group_key' end,
    case when not is_plain then nullif(jobs -> (i.place - 1)::int -> 'headers', 'null') end,
    case when not is_plain then (jobs -> (i.place - 1)::int ->> 'expires_at')::timestamptz end,
    case when not is_plain then jobs -> (i.place - 1)::int ->> 'on_conflict' end,
    case when not is_plain then (jobs -> (i.place - 1)::int ->> 'unique_for')::interval end,
    case when not is_plain then (jobs -> (i.place - 1)::int ->> 'max_wait')::interval end,
    i.place
from rows from (
    jsonb_to_recordset(jobs) as (
        job_type text, payload jsonb, queue text, priority int, run_at timestamptz,
        reference_type text, reference_id bigint, max_retries int, unique_key text,
        unique_scope text, backoff interval[], reference_key text)
) with ordinality i(
    job_type, payload, queue, priority, run_at, reference_type, reference_id, max_retries,
    unique_key, unique_scope, backoff, reference_key, place)
$$;

comment on function _jobs_unpack is 'internal: the objects of a batch as rows, numbered from 1';

-- functions/enqueue/_jobs_unpack_flow.sql
-- What the objects of a batch say about parents and batches. A function of its own, because each
-- column costs each job. depends_on holds ids, which are numbers, and refs, which are strings. What
-- is no list gives a null, which _jobs_check_flow refuses.
create or replace function _jobs_unpack_flow(jobs jsonb) returns table (
    depends_on bigint[],
    refs text[],
    on_parent_failed text,
    batch_id bigint,
    ref text,
    place bigint
)
language sql immutable
set search_path from current
as $$
select coalesce(d.ids, '{}'), coalesce(d.refs, '{}'), i.item ->> 'on_parent_failed',
    (i.item ->> 'batch_id')::bigint, i.item ->> 'ref', i.place
from jsonb_array_elements(jobs) with ordinality i(item, place)
left join lateral (
    select array_agg(distinct (d.parent #>> '{}')::bigint)
            filter (where jsonb_typeof(d.parent) <> 'string') as ids,
        array_agg(distinct d.parent #>> '{}')
            filter (where jsonb_typeof(d.parent) = 'string') as refs
    from jsonb_array_elements(case jsonb_typeof(i.item -> 'depends_on')
        when 'array' then i.item -> 'depends_on' else '[null]' end) d(parent)
) d on jsonb_typeof(i.item -> 'depends_on') <> 'null'
$$;

comment on function _jobs_unpack_flow is
    'internal: what the objects of a batch say about parents and batches, numbered from 1';

-- functions/enqueue/_jobs_valid_delays.sql
-- The years are checked apart, because an interval compares as if a month had 30 days: -290,000
-- years and 104,400,001 days compare as one day, but add up to no valid date.
create or replace function _jobs_valid_delays(delays interval[]) returns boolean
language sql immutable
set search_path from current
return not exists (
    select from unnest(delays) d
    where d < '0' or d > '100 years' or extract(year from d) not between 0 and 100);

comment on function _jobs_valid_delays is
    'internal: whether all delays that are not null are from 0 to 100 years';

-- functions/claim: how a worker takes due jobs
-- functions/claim/jobs_claim.sql
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

-- functions/claim/jobs_next_due.sql
create or replace function jobs_next_due(
    queues text[],
    job_types text[] default null
) returns timestamptz
language plpgsql stable security definer
set search_path from current
as $$
begin
    if queues is null then
        raise exception using errcode = 'JQ003', message = 'queues is missing';
    end if;
    return _jobs_next_due(queues, job_types);
end
$$;

comment on function jobs_next_due is
    'when the next job that a claim could take is due; null: no such job';

-- functions/claim/jobs_start.sql
-- Two sessions cannot both win: the second one waits for the row's lock, then reads processing.
create or replace function jobs_start(
    job_id bigint,
    worker text,
    lease interval default null
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_job jobs;
begin
    perform _jobs_check_claim(worker, lease => lease);
    v_job := _jobs_lock(job_id);
    if v_job.status <> 'pending' then
        raise exception using errcode = 'JQ002',
            message = format('job %s is %s, not pending', job_id, v_job.status);
    end if;
    return query
    update jobs j
    set status = 'processing',
        worker = jobs_start.worker,
        attempt = least(j.attempt, 2147483646) + 1,
        lease_until = _jobs_after(v_now, lease),
        updated_at = v_now,
        started_at = v_now
    where j.id = job_id
    returning j.*;
end
$$;

comment on function jobs_start is
    'claims one chosen pending job by hand; without a lease the claim has no end';

-- functions/claim/_jobs_check_claim.sql
create or replace function _jobs_check_claim(
    worker text,
    queues text[] default null,
    max_jobs int default null,
    lease interval default null,
    job_types text[] default null
) returns void
language plpgsql immutable
set search_path from current
as $$
declare
    v_problem text;
begin
    v_problem := case
        when worker is null or worker = '' then 'worker is missing: give its name'
        when octet_length(worker) > 512 then 'worker must have at most 512 bytes'
        when array_ndims(queues) > 1 or array_ndims(job_types) > 1
            then 'queues and job_types must be plain lists'
        when array_position(queues, null) is not null then 'queues must not hold nulls'
        when max_jobs < 0 then format('max_jobs must be 0 or more, not %s', max_jobs)
        -- As in _jobs_valid_delays, but without the cost of its call in each claim.
        when lease <= '0' or lease > '100 years' or extract(year from lease) not between 0 and 100
            then format('lease must be above 0 and at most 100 years, not %s', lease)
        when array_position(job_types, null) is not null then 'job_types must not hold nulls'
    end;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
end
$$;

comment on function _jobs_check_claim is 'internal: raises if an argument is invalid';

-- functions/claim/_jobs_claim_bound.sql
-- A claim of several types may lock all due rows up to the bound. It reads at most chunk rows of
-- each type. A type that fills its chunk may have more rows beyond it, so the bound is at most the
-- last row of the first such chunk. The bound is also at most the wanted-th row of all types
-- together. If it has read every due row, it returns no row.
create or replace function _jobs_claim_bound(
    queue text,
    priority int,
    job_types text[],
    due timestamptz,
    after_run_at timestamptz,
    after_id bigint,
    chunk int,
    wanted int
) returns table (run_at timestamptz, id bigint)
language sql volatile
set search_path from current
as $$
with head as materialized (
    select c.run_at, c.id, c.place
    from unnest(job_types) t(job_type)
    cross join lateral (
        select j.run_at, j.id, row_number() over (order by j.run_at, j.id) as place
        from jobs j
        where j.status = 'pending'
            and j.group_key is null
            and j.queue = _jobs_claim_bound.queue
            and j.priority = _jobs_claim_bound.priority
            and j.job_type = t.job_type
            and (j.run_at, j.id) > (after_run_at, after_id)
            and j.run_at <= due
            and j.crash_count = 0
        order by j.run_at, j.id
        limit chunk
    ) c
)
select b.run_at, b.id
from (
    select h.run_at, h.id from head h where h.place = chunk
    union all
    (select h.run_at, h.id from head h order by h.run_at, h.id offset wanted - 1 limit 1)
) b
order by b.run_at, b.id
limit 1
$$;

comment on function _jobs_claim_bound is
    'internal: up to which row a claim of several types may lock without taking too many';

-- functions/claim/_jobs_claimed.sql
-- A worker reads its jobs by this one by one, if it could not read the answer of a claim: some row
-- holds what the server cannot send or the driver cannot decode.
create or replace function _jobs_claimed(worker text, job_id bigint, attempt int)
returns setof jobs
language sql stable security definer
set search_path from current
as $$
select j.* from jobs j
where j.id = job_id and j.worker = _jobs_claimed.worker and j.attempt = _jobs_claimed.attempt
    and j.status = 'processing'
$$;

comment on function _jobs_claimed is
    'internal: the job, if worker holds it in that attempt';

-- functions/claim/_jobs_holds_crashed.sql
create or replace function _jobs_holds_crashed(worker text, only_suspects boolean) returns boolean
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
select exists (
    select from (
        select from jobs j
        where j.status = 'processing' and j.worker = _jobs_holds_crashed.worker
            and j.crash_count > 0
            and (not only_suspects or _jobs_is_suspect(j.crash_count, j.max_retries))
        -- In the order of ix_jobs_status, or the planner may read all of ix_jobs_job_type.
        order by j.status, j.finished_at
        limit 1) h)
$$;

comment on function _jobs_holds_crashed is
    'internal: whether a worker holds a job that was lost before';

-- functions/claim/_jobs_is_any_due.sql
-- For claims of many types, of which most are empty: each worker of many queues makes them again
-- and again. since and until: bounds of run_at.
create or replace function _jobs_is_any_due(
    queue text,
    priority int,
    job_types text[],
    since timestamptz,
    until timestamptz
) returns boolean
language plpgsql stable
set search_path from current
set enable_incremental_sort = off
as $$
begin
    if current_setting('server_version_num')::int >= 170000 then
        -- One scan of the index goes from type to type: it costs less than half. The order leaves
        -- the planner no other index.
        return coalesce((
            select true from jobs j
            where j.status = 'pending'
                and j.group_key is null
                and j.queue = _jobs_is_any_due.queue
                and j.priority = _jobs_is_any_due.priority
                and j.job_type = any (job_types)
                and j.run_at >= since
                and j.run_at <= until
                and j.crash_count = 0
            order by j.job_type, j.run_at, j.id
            limit 1), false);
    end if;
    -- Here that order would make the planner read the whole level, and then compare the types.
    return exists (
        select from unnest(job_types) t(job_type)
        cross join lateral (
            select from jobs j
            where j.status = 'pending'
                and j.group_key is null
                and j.queue = _jobs_is_any_due.queue
                and j.priority = _jobs_is_any_due.priority
                and j.job_type = t.job_type
                and j.run_at >= since
                and j.run_at <= until
                and j.crash_count = 0
            order by j.run_at, j.id
            limit 1
        ) due);
end
$$;

comment on function _jobs_is_any_due is
    'internal: whether a job of these types is due in one queue and priority';

-- functions/claim/_jobs_is_suspect.sql
-- PostgreSQL inlines this function into the queries of claims, so it has no settings of its own.
-- Its body names nothing that a search_path could change.
create or replace function _jobs_is_suspect(crash_count int, max_retries int) returns boolean
language sql immutable
return crash_count > 0 and crash_count >= least(max_retries, 2);

comment on function _jobs_is_suspect is
    'internal: whether a job may kill its worker: lost twice, or max_retries times';

-- functions/claim/_jobs_lock_crashed.sql
-- Two sessions cannot both win a job: the second skips locked rows.
create or replace function _jobs_lock_crashed(
    queue text,
    priority int,
    job_types text[],
    due timestamptz,
    max_jobs int
) returns bigint[]
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
select array(
    select j.id from jobs j
    where j.status = 'pending' and j.crash_count > 0 and j.group_key is null
        and j.queue = _jobs_lock_crashed.queue
        and j.priority = _jobs_lock_crashed.priority
        and j.run_at <= due
        and j.job_type = any (job_types)
        and not _jobs_is_suspect(j.crash_count, j.max_retries)
    order by j.run_at, j.id
    limit max_jobs
    for no key update skip locked)
$$;

comment on function _jobs_lock_crashed is
    'internal: locks due jobs of a level that were lost before and are no suspects';

-- functions/claim/_jobs_lock_suspect.sql
-- Two sessions cannot both win a suspect: the second skips locked rows.
--
-- A suspect may kill its worker again, and a job that was lost once may be what killed it. So a
-- worker that sends one claim at a time holds a suspect only without any other job that was lost:
-- those run on other workers, or later, where that crash does not reach them. The suspect comes
-- first in its queue, because its backoff has put it behind all due jobs. jobs_claim calls this
-- only for a queue that has crashed jobs, which is rare.
create or replace function _jobs_lock_suspect(
    worker text,
    queue text,
    job_types text[],
    due timestamptz
) returns bigint[]
language plpgsql volatile
set search_path from current
as $$
begin
    if _jobs_holds_crashed(worker, only_suspects => false) then
        return '{}';
    end if;
    return array(
        select j.id from jobs j
        where j.status = 'pending'
            and j.group_key is null
            and j.queue = _jobs_lock_suspect.queue
            and j.run_at <= due
            and (job_types is null or j.job_type = any (job_types))
            and _jobs_is_suspect(j.crash_count, j.max_retries)
        order by j.priority desc, j.run_at, j.id
        limit 1
        for no key update skip locked);
end
$$;

comment on function _jobs_lock_suspect is
    'internal: locks the first due suspect of a queue, if the worker holds no job that was lost';

-- functions/claim/_jobs_next_due.sql
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

-- functions/claim/_jobs_next_level.sql
-- A probe for a level that has a floor would walk over the index entries of the jobs claimed there.
-- So this probes only the levels above the highest floor below `below`.
create or replace function _jobs_next_level(
    queue text,
    below int,
    floors jsonb
) returns int
language plpgsql stable
set search_path from current
as $$
declare
    v_highest_floor int;
begin
    if floors is not null then
        v_highest_floor := (
            select max(f.priority::int) from jsonb_object_keys(floors -> queue) f(priority)
            where f.priority::int < below);
    end if;
    return coalesce(
        (select j.priority from jobs j
         where j.status = 'pending' and j.group_key is null and j.queue = _jobs_next_level.queue
             and j.priority < below and j.priority > coalesce(v_highest_floor, -10)
         order by j.priority desc limit 1),
        v_highest_floor);
end
$$;

comment on function _jobs_next_level is
    'internal: the next priority below this one that may have pending jobs; null: none';

-- functions/claim/_jobs_types_pending.sql
-- For a claim of many queues, whatever their types: one list for all queues costs less than a list
-- for each. Like _jobs_types_present it goes from type to type by index probes: one for the next
-- type, and one for its first pending job.
create or replace function _jobs_types_pending() returns text[]
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $$
with recursive present(job_type) as (
    (select j.job_type from jobs j order by j.job_type, j.status limit 1)
    union all
    select n.job_type
    from present p
    cross join lateral (
        select j.job_type from jobs j
        where j.job_type > p.job_type
        order by j.job_type, j.status
        limit 1
    ) n
)
select coalesce(array_agg(p.job_type), '{}')
from present p
cross join lateral (
    select j.job_type, j.status from jobs j
    where (j.job_type, j.status) >= (p.job_type, 'pending')
    order by j.job_type, j.status
    limit 1
) n
where n.job_type = p.job_type and n.status = 'pending'
$$;

comment on function _jobs_types_pending is
    'internal: the types of the pending jobs of all queues';

-- functions/claim/_jobs_types_present.sql
-- Goes from type to type by one index probe each, instead of reading all rows. The order has to be
-- that of ix_jobs_claim: ix_jobs_job_type has the types in order too, but the types of all queues.
create or replace function _jobs_types_present(
    queue text,
    priority int,
    until timestamptz default 'infinity'
) returns text[]
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $$
with recursive present(job_type, run_at) as (
    (
        select j.job_type, j.run_at from jobs j
        where j.status = 'pending' and j.group_key is null
            and j.queue = _jobs_types_present.queue
            and j.priority = _jobs_types_present.priority
        order by j.job_type, j.run_at, j.id
        limit 1
    )
    union all
    select n.job_type, n.run_at
    from present p
    cross join lateral (
        select j.job_type, j.run_at from jobs j
        where j.status = 'pending' and j.group_key is null
            and j.queue = _jobs_types_present.queue
            and j.priority = _jobs_types_present.priority and j.job_type > p.job_type
        order by j.job_type, j.run_at, j.id
        limit 1
    ) n
)
select coalesce(array_agg(p.job_type), '{}') from present p
where p.run_at <= _jobs_types_present.until
$$;

comment on function _jobs_types_present is
    'internal: the types that have a job pending up to that run_at in one queue and priority';

-- functions/finish: how a run ends: completed, failed, given back
-- functions/finish/jobs_complete.sql
-- Two sessions cannot both win: _jobs_lock_fenced locks the row and raises for the second session.
create or replace function jobs_complete(
    job_id bigint,
    result jsonb default null,
    worker text default null,
    attempt int default null
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_now constant timestamptz := clock_timestamp();
    v_job jobs;
    v_is_parent boolean := false;
begin
    v_job := _jobs_lock_fenced(job_id, worker, attempt);
    if exists (select from jobs_queues q where q.ends_free_places)
        or exists (select from jobs_watched w where w.job_id = jobs_complete.job_id)
        or exists (select from jobs_flow_edges e where e.parent_id = jobs_complete.job_id)
    then
        v_is_parent := exists (
            select from jobs_flow_edges e where e.parent_id = jobs_complete.job_id);
        perform _jobs_free_places(array[job_id]), _jobs_tell_watchers(array[job_id]);
    end if;
    return query
    update jobs j
    set status = 'completed',
        result = jobs_complete.result,
        error = null,
        worker = null,
        lease_until = null,
        updated_at = clock_timestamp(),
        finished_at = clock_timestamp()
    where j.id = job_id
    returning j.*;
    insert into jobs_ends (ends)
    select json_build_array(_jobs_told_ends(
        v_job.queue, v_job.job_type, 'completed', 1, b.waited_s, b.wait_bucket, b.ran_s,
        b.run_bucket))
    from (
        select e.waited_s, _jobs_bucket(e.waited_s) as wait_bucket, e.ran_s,
            _jobs_bucket(e.ran_s) as run_bucket
        from (
            select _jobs_seconds(v_job.run_at, v_job.started_at) as waited_s,
                _jobs_seconds(v_job.started_at, v_now) as ran_s
            offset 0
        ) e
        -- PostgreSQL inlines a function only if its arguments are cheap.
        offset 0
    ) b;
    if v_is_parent then
        perform _jobs_flow_ended(array[job_id]);
    end if;
end
$$;

comment on function jobs_complete is
    'processing -> completed; with worker and attempt, only if both still hold the job';

-- functions/finish/jobs_complete_many.sql
-- Two sessions cannot both win: see _jobs_complete_uncounted.
create or replace function jobs_complete_many(
    worker text,
    job_ids bigint[],
    attempts int[],
    results jsonb[],
    keep boolean default true
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_done bigint[];
begin
    if keep is false and _jobs_is_batch(worker, job_ids, attempts, array[cardinality(results)]) then
        -- Before their rows are gone.
        perform _jobs_count_completed(_jobs_lock_fenced_many(worker, job_ids, attempts));
    end if;
    v_done := array(
        select c from _jobs_complete_uncounted(worker, job_ids, attempts, results, keep) c);
    if keep is not false then
        perform _jobs_count_completed(v_done);
    end if;
    return query select d from unnest(v_done) d;
end
$$;

comment on function jobs_complete_many is
    'completes the jobs that worker holds in these attempts, and returns their ids';

-- functions/finish/jobs_fail.sql
-- Two sessions cannot both win: _jobs_lock_fenced locks the row and raises for the second session.
create or replace function jobs_fail(
    job_id bigint,
    error text,
    retry boolean default true,
    retry_in interval default null,
    worker text default null,
    attempt int default null,
    error_kind text default null
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_job jobs;
begin
    perform _jobs_check_failure(array[error], array[retry], array[retry_in]);
    perform _jobs_lock_fenced(job_id, worker, attempt);
    v_job := _jobs_end_attempt(job_id, error, retry, retry_in, error_kind => error_kind);
    perform _jobs_signal_jobs(array[job_id]), _jobs_count_ends(array[job_id]);
    return next v_job;
end
$$;

comment on function jobs_fail is
    'processing -> pending for a retry, failed if none is left or wanted, or cancelled';

-- functions/finish/jobs_fail_many.sql
create or replace function jobs_fail_many(
    worker text,
    job_ids bigint[],
    attempts int[],
    errors text[],
    retries boolean[],
    retry_ins interval[],
    error_kinds text[] default null
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_ids constant bigint[] := array(
        select e.id
        from _jobs_end_attempts(worker, job_ids, attempts, errors, retries, retry_ins,
                                error_kinds => error_kinds) e);
begin
    perform _jobs_count_ends(v_ids);
    return query select i from unnest(v_ids) i;
end
$$;

comment on function jobs_fail_many is
    'fails the jobs that worker holds in these attempts, and returns their ids';

-- functions/finish/jobs_release_many.sql
-- Two sessions cannot both win: _jobs_lock_fenced_many locks the rows in the order of their ids, so
-- that two batches never deadlock, and reads the fence under the locks.
create or replace function jobs_release_many(
    worker text,
    job_ids bigint[],
    attempts int[],
    run_ats timestamptz[] default null
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_ids bigint[];
    v_run_ats timestamptz[];
    v_held bigint[];
    v_keyed bigint[];
    v_keys text[];
begin
    perform _jobs_check_batch(worker, job_ids, attempts, array[
        coalesce(cardinality(run_ats), cardinality(job_ids))]);
    if exists (select from unnest(run_ats) r
               where r < '0001-01-02 00:00:00+00' or r >= '9999-12-31 00:00:00+00') then
        raise exception using errcode = 'JQ003',
            message = 'run_ats must be moments in the years 1 to 9999';
    end if;
    v_held := _jobs_lock_fenced_many(worker, job_ids, attempts);
    select array_agg(u.job_id), array_agg(u.run_at) into v_ids, v_run_ats
    from (
        select u.job_id, u.run_at
        from unnest(job_ids, attempts, run_ats) u(job_id, attempt, run_at)
        order by u.job_id, u.attempt
    ) u;
    select k.ids, k.keys into v_keyed, v_keys from _jobs_keyed(v_held) k;
    return query
    update jobs j
    set status = case when j.cancel_requested_at is null then 'pending' else 'cancelled' end,
        run_at = coalesce(v_run_ats[width_bucket(j.id, v_ids)], j.run_at),
        unique_key = case when j.id <> all (v_keyed) then j.unique_key end,
        worker = null,
        lease_until = null,
        updated_at = v_now,
        finished_at = case when j.cancel_requested_at is null then null else v_now end
    where j.id = any (v_held)
    returning j.id;
    for v_place in 1..cardinality(v_keyed) loop
        perform _jobs_take_key(v_keyed[v_place], v_keys[v_place]);
    end loop;
    perform _jobs_signal_jobs(v_held);
    if exists (select from jobs j where j.id = any (v_held) and (j.status = 'cancelled') is true) then
        perform _jobs_count_ends(v_held);
    end if;
end
$$;

comment on function jobs_release_many is
    'gives back the jobs that worker holds, and spends no retry; run_ats: new run_at of each';

-- functions/finish/_jobs_after.sql
-- A timestamptz plus an interval counts days and months by the calendar of the session's time
-- zone: across a change of the clocks one day is 23 or 25 hours. Drivers write 24 hours as one day.
-- So the sum is made in UTC, where a day has 24 hours; a month is one of the calendar. PostgreSQL
-- inlines this function, so it has no settings of its own.
create or replace function _jobs_after(moment timestamptz, delay interval) returns timestamptz
language sql immutable
return (moment at time zone 'UTC' + delay) at time zone 'UTC';

comment on function _jobs_after is
    'internal: a moment this much later, whatever the session''s time zone; a day has 24 hours';

-- functions/finish/_jobs_check_batch.sql
create or replace function _jobs_check_batch(
    worker text,
    job_ids bigint[],
    attempts int[],
    others int[]
) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if not _jobs_is_batch(worker, job_ids, attempts, others) then
        raise exception using errcode = 'JQ003',
            message = 'worker, job_ids and attempts must not be or hold null, '
                'and all arrays must be plain lists of the same length';
    end if;
end
$$;

comment on function _jobs_check_batch is
    'internal: refuses arrays with nulls or of unequal lengths; others: lengths of further arrays';

-- functions/finish/_jobs_check_failure.sql
create or replace function _jobs_check_failure(
    errors text[],
    retries boolean[],
    retry_ins interval[],
    error_kinds text[] default null
) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    -- jobs_fail_many joins the lists by the places of their elements.
    if greatest(array_ndims(errors), array_ndims(retries), array_ndims(retry_ins),
                array_ndims(error_kinds)) > 1
        or array_lower(errors, 1) <> 1 or array_lower(retries, 1) <> 1
        or array_lower(retry_ins, 1) <> 1 or array_lower(error_kinds, 1) <> 1
    then
        raise exception using errcode = 'JQ003',
            message = 'errors, retries, retry_ins and error_kinds must be plain lists';
    end if;
    if array_position(errors, null) is not null then
        raise exception using errcode = 'JQ003', message = 'error is missing: give the reason';
    end if;
    if not _jobs_valid_delays(retry_ins) then
        raise exception using errcode = 'JQ003', message = 'retry_in must be from 0 to 100 years';
    end if;
end
$$;

comment on function _jobs_check_failure is
    'internal: raises if an argument of a failure is invalid';

-- functions/finish/_jobs_complete_and_delete.sql
-- _jobs_complete_uncounted for who keeps no completed jobs. Jobs that somebody waits for stay: as long as
-- their watch, or as long as the jobs that wait for them (_jobs_unwatch, _jobs_flow_tidy).
--
-- Two sessions cannot both win, and two batches never deadlock: see _jobs_complete_uncounted.
create or replace function _jobs_complete_and_delete(
    worker text,
    job_ids bigint[],
    attempts int[],
    results jsonb[]
) returns setof bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_ids bigint[];
    v_attempts int[];
    v_is_awaited boolean;
    v_kept bigint[] := '{}';
begin
    select array_agg(u.job_id), array_agg(u.attempt),
        exists (select from jobs_queues q where q.ends_free_places)
            or exists (select from jobs_watched w where w.job_id = any (job_ids))
            or exists (select from jobs_flow_edges e where e.parent_id = any (job_ids))
    into v_ids, v_attempts, v_is_awaited
    from (
        select u.job_id, u.attempt from unnest(job_ids, attempts) u(job_id, attempt)
        order by u.job_id, u.attempt
    ) u;
    if v_is_awaited then
        perform _jobs_free_places(v_ids), _jobs_tell_watchers(v_ids);
        v_kept := array(
            select w.job_id from jobs_watched w where w.job_id = any (v_ids)
            union
            select e.parent_id from jobs_flow_edges e where e.parent_id = any (v_ids));
        -- All of them first, in the order of the ids: some are deleted and some updated below.
        perform _jobs_lock_fenced_many(worker, job_ids, attempts);
    end if;
    return query
    delete from jobs j
    where j.id = any (v_ids)
        and j.worker = _jobs_complete_and_delete.worker
        and j.attempt = v_attempts[width_bucket(j.id, v_ids)]
        and (j.finished_at is not null) is false
        and j.id <> all (v_kept)
    returning j.id;
    -- A job in its first attempt has no others behind it.
    if 1 < any (v_attempts) or exists (select from jobs_flows f) then
        perform _jobs_forget(array(
                select u.id from unnest(v_ids) u(id)
                where (select true from jobs j where j.id = u.id) is null)),
            _jobs_flow_deleted(v_ids);
    end if;
    if v_kept <> '{}' then
        update jobs j
        set marks = coalesce(j.marks, 0) | 1
        where j.id = any (v_kept)
            and j.worker = _jobs_complete_and_delete.worker
            and j.attempt = v_attempts[width_bucket(j.id, v_ids)]
            and (j.finished_at is not null) is false;
        return query
        select c.id from _jobs_complete_uncounted(
            _jobs_complete_and_delete.worker, job_ids, attempts, results) c(id);
    end if;
end
$$;

comment on function _jobs_complete_and_delete is
    'internal: completes the jobs that worker holds in these attempts, and deletes them at once';

-- functions/finish/_jobs_complete_uncounted.sql
-- Two sessions cannot both win: the update locks each row and reads the fence again under the lock;
-- only a processing job has a worker. Two batches never deadlock: an index scan for `= any` visits
-- its keys in order.
--
-- For workers of pgjobs, which count the ends themselves (_jobs_note_ends).
--
-- There is no join, because a planner with statistics of an empty table, or none, may start the
-- join from the table and read all of it once per job. Instead width_bucket finds a row's
-- attempt and result by the place of the row's id among the sorted ids. And the fence uses columns
-- without an index, because the planner may prefer an index on `status` to the primary key;
-- `is null` of finished_at would use an index too.
create or replace function _jobs_complete_uncounted(
    worker text,
    job_ids bigint[],
    attempts int[],
    results jsonb[],
    keep boolean default true
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_ids bigint[];
    v_attempts int[];
    v_results jsonb[];
begin
    if not _jobs_is_batch(worker, job_ids, attempts, array[cardinality(results)]) then
        perform _jobs_check_batch(worker, job_ids, attempts, array[cardinality(results)]);
    end if;
    if keep is false then
        return query
        select d.id from _jobs_complete_and_delete(worker, job_ids, attempts, results) d(id);
        return;
    end if;
    select array_agg(u.job_id), array_agg(u.attempt), array_agg(u.result)
    into v_ids, v_attempts, v_results
    from (
        select u.job_id, u.attempt, u.result
        from unnest(job_ids, attempts, results) u(job_id, attempt, result)
        order by u.job_id, u.attempt
    ) u;
    return query
    update jobs j
    set status = 'completed',
        result = v_results[width_bucket(j.id, v_ids)],
        error = null,
        worker = null,
        lease_until = null,
        updated_at = v_now,
        finished_at = v_now
    where j.id = any (v_ids)
        and j.worker = _jobs_complete_uncounted.worker
        and j.attempt = v_attempts[width_bucket(j.id, v_ids)]
        and (j.finished_at is not null) is false
    returning j.id;
    -- After the rows are locked, in a later statement: _jobs_flow_attach relies on it.
    if exists (select from jobs_queues q where q.ends_free_places)
        or exists (select from jobs_watched w where w.job_id = any (v_ids))
        or exists (select from jobs_flow_edges e where e.parent_id = any (v_ids))
    then
        perform _jobs_free_places(v_ids), _jobs_tell_watchers(v_ids), _jobs_flow_ended(array(
            select j.id from jobs j
            where j.id = any (v_ids)
                and (j.status = 'completed' and j.finished_at = v_now) is true));
    end if;
end
$$;

comment on function _jobs_complete_uncounted is
    'internal: completes the jobs that worker holds in these attempts; their ends are not counted';

-- functions/finish/_jobs_end_attempt.sql
-- The caller has locked the row and checked the attempt, so no other session can end the attempt.
--
-- lost_at: when the worker, or the job's child process, was found lost; null: the attempt failed. A
-- job is due at once after its first loss, because a loss is rarely the job's fault. After later
-- losses it waits for its backoff. Even a job without retries may be lost once, because it may only
-- have run beside the job that killed their worker; and no job may kill more than four workers.
--
-- What ended so is noted in jobs_attempts. Only here, because a success is noted in the job's row
-- alone.
create or replace function _jobs_end_attempt(
    job_id bigint,
    error text default null,
    retry boolean default null,
    retry_in interval default null,
    lost_at timestamptz default null,
    error_kind text default null
) returns jobs
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_max_attempts constant int := 20;
    v_now constant timestamptz := coalesce(lost_at, clock_timestamp());
    v_lost constant boolean := lost_at is not null;
    v_job jobs;
    v_status text;
    v_key text;
    v_delay interval;
begin
    select j.* into v_job from jobs j where j.id = job_id;
    insert into jobs_attempts (
        job_id, job_type, attempt, worker, due_at, started_at, ended_at, outcome, error_kind,
        error)
    values (
        v_job.id, v_job.job_type, v_job.attempt, v_job.worker, v_job.run_at, v_job.started_at, v_now,
        case when v_lost then 'lost' else 'failed' end,
        left(_jobs_end_attempt.error_kind, 512), _jobs_end_attempt.error)
    on conflict do nothing;
    if v_job.attempt > c_max_attempts then
        delete from jobs_attempts a
        where a.job_id = v_job.id and a.attempt <= (
            select l.attempt from jobs_attempts l
            where l.job_id = v_job.id
            order by l.attempt desc
            offset c_max_attempts limit 1);
    end if;
    v_status := case
        when v_job.cancel_requested_at is not null then 'cancelled'
        when v_lost and v_job.crash_count < least(greatest(v_job.max_retries, 1), 3)
            or not v_lost and coalesce(retry, true) and v_job.retry_count < v_job.max_retries
            then 'pending'
        else 'failed'
    end;
    if v_status = 'pending' then
        -- Scope pending holds the key only while the job waits, so another job may hold it by now.
        v_key := case when v_job.unique_scope = 'pending' then v_job.unique_key end;
        v_delay := case
            when not v_lost
                then coalesce(retry_in, _jobs_retry_delay(v_job.backoff, v_job.retry_count + 1))
            when v_job.crash_count > 0 then _jobs_retry_delay(v_job.backoff, v_job.crash_count)
        end;
    end if;
    update jobs j
    set status = v_status,
        -- A count that does not fit its column would make every recovery fail.
        crash_count = least(j.crash_count + v_lost::int, 32767),
        retry_count = j.retry_count + (v_status = 'pending' and not v_lost)::int,
        error = case
            when not v_lost or _jobs_end_attempt.error is not null then _jobs_end_attempt.error
            when v_status = 'failed' then format('its worker was lost %s times, the last was %s',
                                                 j.crash_count + 1, coalesce(j.worker, 'unknown'))
            else j.error end,
        run_at = coalesce(_jobs_after(v_now, v_delay), j.run_at),
        unique_key = case when v_key is null then j.unique_key end,
        worker = null,
        lease_until = null,
        updated_at = v_now,
        finished_at = case v_status when 'pending' then null else v_now end
    where j.id = job_id
    returning j.* into v_job;
    if v_key is not null then
        return _jobs_take_key(v_job.id, v_key);
    end if;
    return v_job;
end
$$;

comment on function _jobs_end_attempt is
    'internal: ends a failed or lost attempt: the job becomes pending, failed or cancelled';

-- functions/finish/_jobs_end_attempts.sql
-- Two sessions cannot both win: _jobs_lock_fenced_many locks the rows in the order of their ids, so
-- that two batches never deadlock, and reads the fence under the locks. The attempts end in the
-- order of the keys that their jobs may take again.
--
-- A worker calls this itself, to log what becomes of each job. crashed: the jobs' child processes
-- have died. Their worker lives on, so that recovery would never find these jobs.
create or replace function _jobs_end_attempts(
    worker text,
    job_ids bigint[],
    attempts int[],
    errors text[],
    retries boolean[],
    retry_ins interval[],
    crashed boolean default false,
    error_kinds text[] default null
) returns table (id bigint, status text, retry_count int, crash_count int, due_in interval)
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_held bigint[];
    v_keyed bigint[];
    v_item record;
    v_job jobs;
begin
    perform _jobs_check_batch(worker, job_ids, attempts, array[
        cardinality(errors), cardinality(retries), cardinality(retry_ins),
        coalesce(cardinality(error_kinds), cardinality(job_ids))]);
    perform _jobs_check_failure(errors, retries, retry_ins, error_kinds);
    v_held := _jobs_lock_fenced_many(worker, job_ids, attempts);
    v_keyed := (select k.ids from _jobs_keyed(v_held) k);
    for v_item in
        -- If an id is given with two attempts, the worker holds the later attempt.
        select distinct on (array_position(v_keyed, u.job_id), u.job_id) u.*
        from unnest(job_ids, attempts, errors, retries, retry_ins, error_kinds)
            u(job_id, attempt, error, retry, retry_in, error_kind)
        where u.job_id = any (v_held)
        order by array_position(v_keyed, u.job_id), u.job_id, u.attempt desc
    loop
        v_job := _jobs_end_attempt(v_item.job_id, v_item.error, v_item.retry, v_item.retry_in,
                                   lost_at => case when crashed then clock_timestamp() end,
                                   error_kind => v_item.error_kind);
        id := v_job.id;
        status := v_job.status;
        retry_count := v_job.retry_count;
        crash_count := v_job.crash_count;
        due_in := greatest(v_job.run_at - v_job.updated_at, '0');
        return next;
    end loop;
    -- A sleeping worker has read the next due time before these jobs were pending.
    perform _jobs_signal_jobs(v_held);
end
$$;

comment on function _jobs_end_attempts is
    'internal: fails or crashes the jobs that worker holds in these attempts; what became of each';

-- functions/finish/_jobs_is_batch.sql
-- A function that PostgreSQL inlines, because a call of a function with settings costs a lone
-- completion a fiftieth.
create or replace function _jobs_is_batch(
    worker text,
    job_ids bigint[],
    attempts int[],
    others int[]
) returns boolean
language sql immutable
return (
    worker is null
    or greatest(array_ndims(job_ids), array_ndims(attempts)) > 1
    or array_position(job_ids, null) is not null
    or array_position(attempts, null) is not null
    or array_lower(job_ids, 1) <> 1 or array_lower(attempts, 1) <> 1
    or not coalesce(cardinality(job_ids) = all (cardinality(attempts) || others), false)
) is not true;

comment on function _jobs_is_batch is
    'internal: whether these arrays hold no nulls and are of equal lengths; others: further lengths';

-- functions/finish/_jobs_keyed.sql
-- Scope pending holds a key only while its job waits, so another job may hold it by now. All who
-- take several keys take them in this order, so that they never deadlock. Reads the jobs by their
-- ids first, as _jobs_signal_jobs does.
create or replace function _jobs_keyed(job_ids bigint[], out ids bigint[], out keys text[])
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    with named as materialized (
        select j.id, j.job_type, j.unique_key, j.unique_scope, j.cancel_requested_at from jobs j
        where j.id = any (job_ids)
    )
    select coalesce(array_agg(n.id order by n.job_type, n.unique_key), '{}'),
        array_agg(n.unique_key order by n.job_type, n.unique_key)
    into ids, keys
    from named n
    where n.unique_scope = 'pending' and n.unique_key is not null
        and n.cancel_requested_at is null;
end
$$;

comment on function _jobs_keyed is
    'internal: which of these jobs take their unique_key again when they wait again, and the keys';

-- functions/finish/_jobs_lock.sql
create or replace function _jobs_lock(job_id bigint) returns jobs
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_job jobs;
begin
    if job_id is null then
        raise exception using errcode = 'JQ003', message = 'job_id is missing';
    end if;
    select j.* into v_job from jobs j where j.id = job_id for no key update;
    if not found then
        raise exception using errcode = 'JQ001', message = format('there is no job %s', job_id);
    end if;
    return v_job;
end
$$;

comment on function _jobs_lock is
    'internal: locks and returns a job, or raises if it is missing';

-- functions/finish/_jobs_lock_fenced.sql
-- Two sessions cannot both win: the second waits for the row's lock, then sees the first's change.
create or replace function _jobs_lock_fenced(
    job_id bigint,
    worker text,
    attempt int
) returns jobs
language plpgsql volatile
set search_path from current
as $$
declare
    v_job jobs := _jobs_lock(job_id);
begin
    if v_job.status <> 'processing' then
        raise exception using errcode = 'JQ002',
            message = format('job %s is %s, not processing', job_id, v_job.status);
    end if;
    if coalesce(_jobs_lock_fenced.worker, v_job.worker) is distinct from v_job.worker
        or _jobs_lock_fenced.attempt <> v_job.attempt
    then
        raise exception using errcode = 'JQ002',
            message = format('job %s is held by %s in attempt %s; given: %s, attempt %s',
                             job_id, v_job.worker, v_job.attempt,
                             coalesce(left(_jobs_lock_fenced.worker, 100), 'any'),
                             coalesce(_jobs_lock_fenced.attempt::text, 'any'));
    end if;
    return v_job;
end
$$;

comment on function _jobs_lock_fenced is
    'internal: locks a processing job, or raises if the fence fails';

-- functions/finish/_jobs_lock_fenced_many.sql
-- Two sessions cannot both win: each row is locked, and its fence is read under the lock. The locks
-- are taken in the order of the ids: an index scan for `= any` visits its keys in order.
-- jobs_complete_many says why there is no join.
create or replace function _jobs_lock_fenced_many(
    worker text,
    job_ids bigint[],
    attempts int[],
    wait boolean default true
) returns bigint[]
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_ids bigint[];
    v_attempts int[];
begin
    select array_agg(u.job_id), array_agg(u.attempt) into v_ids, v_attempts
    from (
        select u.job_id, u.attempt from unnest(job_ids, attempts) u(job_id, attempt)
        order by u.job_id, u.attempt
    ) u;
    if wait then
        return array(
            select j.id from jobs j
            where j.id = any (v_ids) and j.worker = _jobs_lock_fenced_many.worker
                and j.attempt = v_attempts[width_bucket(j.id, v_ids)]
                and (j.finished_at is not null) is false
            for no key update);
    end if;
    return array(
        select j.id from jobs j
        where j.id = any (v_ids) and j.worker = _jobs_lock_fenced_many.worker
            and j.attempt = v_attempts[width_bucket(j.id, v_ids)]
            and (j.finished_at is not null) is false
        for no key update skip locked);
end
$$;

comment on function _jobs_lock_fenced_many is
    'internal: locks the rows that pass the fence, in the order of their ids, and returns the ids';

-- functions/finish/_jobs_retry_delay.sql
-- By default 5 s, six times as long for each further retry, up to an hour. So that jobs that failed
-- together do not retry together, the default has a jitter of a quarter either way. A delay that is
-- not valid counts as none: a run_at that no row can hold would make every recovery fail.
create or replace function _jobs_retry_delay(backoff interval[], retry int) returns interval
language sql volatile
set search_path from current
begin atomic
    select coalesce(
        case when b.delay between '0' and '100 years'
            and extract(year from b.delay) between 0 and 100 then b.delay end,
        make_interval(secs => least(5 * 6 ^ least(retry - 1, 4), 3600) * (0.75 + random() / 2)))
    from (values (backoff[least(retry, cardinality(backoff))])) b(delay);
end;

comment on function _jobs_retry_delay is
    'internal: the delay before retry 1, 2, ...: from backoff, or 5 s to 1 h';

-- functions/finish/_jobs_take_key.sql
-- For a job of scope pending that its caller has just made pending without its key: the job takes
-- its key again. Where a newer job holds the key, or has begun with it since, that one runs with
-- newer data, so this job ends. Where an older one waits for a retry, that one ends. No unique
-- violation reaches the worker.
--
-- Two sessions cannot both win the key: the unique index decides. Newer jobs are looked for after
-- that: a claim that was under way has committed then.
create or replace function _jobs_take_key(job_id bigint, unique_key text) returns jobs
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_max_tries constant int := 10;
    v_job jobs;
    v_holder jobs;
    v_newer bigint;
    v_reason text;
begin
    for v_try in 1..c_max_tries loop
        begin
            update jobs j set unique_key = _jobs_take_key.unique_key
            where j.id = job_id
            returning j.* into v_job;
            v_newer := _jobs_key_successor(v_job);
            if v_newer is null then
                return v_job;
            end if;
            v_reason := format('job %s has begun with this key since', v_newer);
        exception
            when unique_violation then
                select j.* into v_job from jobs j where j.id = job_id;
                select h.* into v_holder
                from _jobs_key_holder(v_job.job_type, _jobs_take_key.unique_key) h;
                continue when not found
                    or _jobs_give_way(v_holder, is_replaced => v_holder.id < job_id);
                v_reason := format('job %s waits with this key', v_holder.id);
        end;
        update jobs j
        set status = 'cancelled',
            error = concat_ws(e'\n', v_reason, j.error),
            unique_key = _jobs_take_key.unique_key,
            finished_at = j.updated_at
        where j.id = job_id
        returning j.* into v_job;
        return v_job;
    end loop;
    return v_job;
end
$$;

comment on function _jobs_take_key is
    'internal: gives a waiting job its unique_key again, or ends it where a newer job has the key';

-- functions/limits: how many jobs of a queue or a group may run or start
-- functions/limits/jobs_limit.sql
-- Two sessions cannot both win: the second waits for the queue's row, then overwrites the first.
--
-- Jobs that run go on, also where the new limit is lower: none starts until enough have ended.
create or replace function jobs_limit(
    queue text,
    max_running int default null,
    max_running_per_group int default null,
    rate_count int default null,
    rate_period interval default null,
    group_rate_count int default null,
    group_rate_period interval default null,
    in_order boolean default false
) returns setof jobs_queues
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    v_per_group constant int := coalesce(jobs_limit.max_running_per_group,
                                         case when jobs_limit.in_order then 1 end);
begin
    perform _jobs_check_queue(jobs_limit.queue);
    perform _jobs_check_limits(jobs_limit.max_running, v_per_group,
                               jobs_limit.rate_count, jobs_limit.rate_period,
                               jobs_limit.group_rate_count, jobs_limit.group_rate_period);
    return query
    insert into jobs_queues as q (queue, max_running, max_running_per_group, rate_count, rate_period,
                                  group_rate_count, group_rate_period, in_order)
    values (jobs_limit.queue, jobs_limit.max_running, v_per_group,
            jobs_limit.rate_count, jobs_limit.rate_period,
            jobs_limit.group_rate_count, jobs_limit.group_rate_period,
            coalesce(jobs_limit.in_order, false))
    on conflict (queue) do update
    set max_running = excluded.max_running,
        max_running_per_group = excluded.max_running_per_group,
        rate_count = excluded.rate_count,
        rate_period = excluded.rate_period,
        group_rate_count = excluded.group_rate_count,
        group_rate_period = excluded.group_rate_period,
        in_order = excluded.in_order
    returning q.*;
    -- What the old limits have put off is looked at by the new ones.
    insert into jobs_turns (queue, group_key, job_type, turn_at)
    select t.queue, t.group_key, t.job_type, clock_timestamp()
    from jobs_turns t
    where t.queue = jobs_limit.queue and t.turn_at > clock_timestamp()
    group by t.queue, t.group_key, t.job_type;
    perform _jobs_signal(jobs_limit.queue, '-infinity', jobs => 16);
    perform _jobs_audit_note('limit', filters => jsonb_build_object(
        'queue', jobs_limit.queue,
        'max_running', jobs_limit.max_running,
        'max_running_per_group', v_per_group,
        'rate_count', jobs_limit.rate_count,
        'rate_period', jobs_limit.rate_period,
        'group_rate_count', jobs_limit.group_rate_count,
        'group_rate_period', jobs_limit.group_rate_period,
        'in_order', nullif(jobs_limit.in_order, false)));
end
$$;

comment on function jobs_limit is
    'sets how many jobs of a queue, and of each of its groups, may run at once or start in a period';

-- functions/limits/_jobs_check_isolation.sql
-- Under repeatable read the snapshot is older than the lock: a claim would count what ran before.
create or replace function _jobs_check_isolation() returns void
language plpgsql volatile
set search_path from current
as $$
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception using errcode = 'JQ003',
            message = format('a queue with limits or groups is claimed from in read committed, not '
                             'in %s', current_setting('transaction_isolation')),
            hint = 'Begin the transaction with: begin isolation level read committed';
    end if;
end
$$;

comment on function _jobs_check_isolation is
    'internal: raises where a claim could not count what runs';

-- functions/limits/_jobs_check_limits.sql
create or replace function _jobs_check_limits(
    max_running int,
    max_running_per_group int,
    rate_count int,
    rate_period interval,
    group_rate_count int,
    group_rate_period interval
) returns void
language plpgsql immutable
set search_path from current
as $$
declare
    v_problem text;
begin
    v_problem := case
        when max_running < 0 then
            format('max_running must be at least 0, not %s; null: no limit', max_running)
        when max_running_per_group < 0 then
            format('max_running_per_group must be at least 0, not %s; null: no limit',
                   max_running_per_group)
        when num_nonnulls(rate_count, rate_period) = 1 then
            'rate_count and rate_period go together: give both or neither'
        when num_nonnulls(group_rate_count, group_rate_period) = 1 then
            'group_rate_count and group_rate_period go together: give both or neither'
        when rate_count < 1 then format('rate_count must be at least 1, not %s', rate_count)
        when group_rate_count < 1 then
            format('group_rate_count must be at least 1, not %s', group_rate_count)
        when rate_period not between '10 ms' and '366 days' then
            format('rate_period must be from 10 ms to 366 days, not %s', rate_period)
        when group_rate_period not between '10 ms' and '366 days' then
            format('group_rate_period must be from 10 ms to 366 days, not %s', group_rate_period)
    end;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
end
$$;

comment on function _jobs_check_limits is 'internal: raises if a limit is invalid';

-- functions/limits/_jobs_claim_groups.sql
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

-- functions/limits/_jobs_flag_groups.sql
-- Two sessions may both set the flag of a queue; neither waits for the other.
create or replace function _jobs_flag_groups(queues text[]) returns void
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
declare
    v_queue text;
begin
    foreach v_queue in array queues loop
        continue when not exists (select from jobs_turns t where t.queue = v_queue)
            or exists (select from jobs_queues q where q.queue = v_queue and q.has_groups)
            or not pg_try_advisory_xact_lock(_jobs_advisory_key('groups', v_queue));
        update jobs_queues q set has_groups = true
        where q.queue = (select f.queue from jobs_queues f
                         where f.queue = v_queue and not f.has_groups
                         for no key update skip locked);
        if not exists (select from jobs_queues q where q.queue = v_queue) then
            insert into jobs_queues (queue, has_groups) values (v_queue, true)
            on conflict (queue) do nothing;
        end if;
    end loop;
end
$$;

comment on function _jobs_flag_groups is
    'internal: from now on claims of those of these queues that have turns look for turns';

-- functions/limits/_jobs_free_places.sql
-- Called in the transaction in which these jobs end, where some queue has a limit: the end of a job
-- may let another one start. A claim that runs at the same moment may count the job as running and
-- put the group off, so a turn is inserted in any case; the turn becomes visible with the end.
--
-- In order, the others of the group have waited for these jobs without a turn of their own. They
-- may have other types, whose workers do not look at turns of the types that end.
--
-- A signal is sent where a worker listens that may not look soon by itself, or where jobs_next_due
-- says null because the queue is full.
create or replace function _jobs_free_places(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_queues text[];
begin
    -- The transaction's number before the moment of its turns: see _jobs_raise_turns_from.
    perform pg_current_xact_id();
    with named as materialized (
        select j.queue, j.group_key, j.job_type from jobs j where j.id = any (job_ids)
    ), ending as materialized (
        select distinct n.queue, n.group_key, n.job_type, q.max_running_per_group,
            q.max_running, q.in_order
        from named n
        join jobs_queues q on q.queue = n.queue and q.ends_free_places
        where n.group_key is not null or q.max_running is not null
    ), turn as (
        insert into jobs_turns (queue, group_key, job_type, turn_at)
        select e.queue, e.group_key, t.job_type, clock_timestamp()
        from ending e
        cross join lateral unnest(
            case when e.in_order then _jobs_group_types(e.queue, e.group_key)
            else array[e.job_type] end) t(job_type)
        where e.group_key is not null and e.max_running_per_group is not null
    )
    select array_agg(distinct e.queue) into v_queues
    from ending e
    where e.max_running is not null
        or exists (select from jobs_workers w
                   where e.queue = any (w.queues) and _jobs_is_locked(w.listening_key));
    if v_queues is not null then
        perform _jobs_signal(q.queue, clock_timestamp(), jobs => cardinality(job_ids))
        from unnest(v_queues) q(queue)
        where not _jobs_is_polled(q.queue);
    end if;
end
$$;

comment on function _jobs_free_places is
    'internal: the end of these jobs may let others of their queues and groups start';

-- functions/limits/_jobs_group_types.sql
-- Goes from type to type by one index probe each.
create or replace function _jobs_group_types(queue text, group_key text) returns text[]
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_types text[] := '{}';
    v_last text := '';
begin
    loop
        select j.job_type into v_last
        from jobs j
        where j.queue = _jobs_group_types.queue and j.group_key = _jobs_group_types.group_key
            and j.status = 'pending' and j.finished_at is null and j.job_type > v_last
        order by j.job_type, _jobs_rank(j.attempt, j.priority), j.run_at, j.id
        limit 1;
        exit when not found;
        v_types := v_types || v_last;
    end loop;
    return v_types;
end
$$;

comment on function _jobs_group_types is 'internal: the types of the pending jobs of a group';

-- functions/limits/_jobs_groups_without_turn.sql
-- One statement, so that the jobs and the turns are those of one moment: a claim deletes the turns
-- of a group, and inserts others, in one transaction. A full group has a turn 10 s ahead.
create or replace function _jobs_groups_without_turn(max_groups int)
returns table (queue text, group_key text, job_type text)
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
select g.queue, g.group_key, g.job_type
from _jobs_groups(20, max_groups, 20000, true) g
cross join lateral (
    select exists (
            select from jobs_turns t where t.queue = g.queue and t.group_key = g.group_key
        ) as has_any,
        g.startable = 0 or exists (
            select from jobs_turns t
            where t.queue = g.queue and t.group_key = g.group_key and t.job_type = g.job_type
                and t.turn_at <= clock_timestamp() + interval '11 seconds') as has_near
) t
left join jobs_queues q on q.queue = g.queue
where not t.has_any or not t.has_near or q.has_groups is not true
$$;

comment on function _jobs_groups_without_turn is
    'internal: pending jobs that no claim reaches: their group has no turn, or their queue no flag';

-- functions/limits/_jobs_held_back.sql
-- queues and group_keys are arrays of equal length: the groups to look at, besides all queues with
-- limits of their own.
create or replace function _jobs_held_back(
    queues text[] default '{}',
    group_keys text[] default '{}'
) returns table (queue text, group_key text, told text)
language sql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
select a.queue, null, a.told
from (
    select q.queue, _jobs_told_limit(q) as told from jobs_queues q
    where num_nonnulls(q.max_running, q.rate_count) > 0
) a
where a.told is not null
union all
select a.queue, a.group_key, a.told
from (
    select g.queue, g.group_key, _jobs_told_group(q, g.group_key) as told
    from (
        select distinct u.queue, u.group_key
        from unnest(_jobs_held_back.queues, _jobs_held_back.group_keys) u(queue, group_key)
        where u.group_key is not null
    ) g
    join jobs_queues q on q.queue = g.queue
    where q.in_order or num_nonnulls(q.max_running_per_group, q.group_rate_count) > 0
) a
where a.told is not null
$$;

comment on function _jobs_held_back is
    'internal: which queues, and which of these groups, a limit lets start nothing now, and why';

-- functions/limits/_jobs_insert_turns.sql
-- Inserts only, so that a producer neither waits nor makes others wait.
--
-- The first job with a group in a queue sets the queue's flag has_groups, so that claims of other
-- queues need not look for turns. Where another session is about to set it or holds the row, this
-- one goes on: a claim that finds nothing, or a worker's tick, sets the flag if it is then missing
-- (_jobs_flag_groups).
create or replace function _jobs_insert_turns(job_ids bigint[]) returns boolean
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_queues text[];
begin
    with named as materialized (
        select j.queue, j.group_key, j.job_type, j.run_at, j.status from jobs j
        where j.id = any (job_ids)
    ), turn as (
        insert into jobs_turns (queue, group_key, job_type, turn_at)
        select n.queue, n.group_key, n.job_type, greatest(min(n.run_at), clock_timestamp())
        from named n
        where n.status = 'pending' and n.group_key is not null
        group by n.queue, n.group_key, n.job_type
        returning queue
    )
    select array_agg(distinct t.queue) into v_queues
    from turn t
    where not exists (select from jobs_queues q where q.queue = t.queue and q.has_groups);
    if v_queues is not null then
        perform _jobs_flag_groups(v_queues);
    end if;
    return true;
end
$$;

comment on function _jobs_insert_turns is
    'internal: claims will look at the groups of those of these jobs that are pending';

-- functions/limits/_jobs_is_polled.sql
-- Like _jobs_notify, which says why no signal is needed then: the queue's gate tells workers that
-- this transaction may have news, so that they go on looking until it has ended. A place that was
-- freed may be for a job of any type, so the polling worker has to serve all types that any worker
-- of the queue serves.
create or replace function _jobs_is_polled(queue text) returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
    return (_jobs_is_locked(_jobs_advisory_key('polling 1', queue))
            or _jobs_is_locked(_jobs_advisory_key('polling 2', queue)))
        and exists (
            select from jobs_workers w
            where case
                when queue = any (w.queues)
                    and not exists (
                        select from jobs_workers o
                        where queue = any (o.queues)
                            and not coalesce(o.job_types <@ w.job_types, w.job_types is null))
                    and current_setting('max_prepared_transactions') = '0'
                    and pg_try_advisory_xact_lock_shared(_jobs_advisory_key('gate', queue))
                then _jobs_is_locked(w.polling_key)
                else false
            end);
end
$$;

comment on function _jobs_is_polled is
    'internal: whether a worker polls the queue for all types, so that no signal is needed';

-- functions/limits/_jobs_limits_declare.sql
-- Sets limits as the code of an app declares them, by the verdicts of _jobs_limits_diff: those that
-- are new or changed, and with is_newest the older ones too.
--
-- Two workers cannot both win: the verdict is given after the lock. They lock in the same order.
create or replace function _jobs_limits_declare(
    app text,
    limits jsonb,
    is_newest boolean default false
) returns setof text
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_item jsonb;
    v_queue text;
    v_definition jsonb;
    v_verdict text;
    v_declared jsonb;
begin
    for v_item in
        select i.item from jsonb_array_elements(limits) i(item) order by i.item ->> 'name'
    loop
        v_queue := v_item ->> 'name';
        v_definition := v_item - 'name';
        v_declared := null;
        select q.declared into v_declared from jobs_queues q where q.queue = v_queue for update;
        v_verdict := _jobs_verdict(found, v_declared, v_definition);
        continue when v_verdict = 'same' or v_verdict = 'older' and not is_newest;
        begin
            perform l.queue
            from jsonb_to_record(v_definition) d(
                max_running int, max_running_per_group int, rate_count int, rate_period interval,
                group_rate_count int, group_rate_period interval, in_order boolean)
            cross join lateral jobs_limit(
                v_queue, d.max_running, d.max_running_per_group, d.rate_count, d.rate_period,
                d.group_rate_count, d.group_rate_period, d.in_order) l;
        exception when sqlstate 'JQ003' then
            raise exception using errcode = 'JQ003',
                message = format('limits of queue %s: %s', left(v_queue, 100), sqlerrm);
        end;
        update jobs_queues q
        set declared = _jobs_declared(app, v_definition, clock_timestamp(), v_declared)
            || jsonb_build_object('made', _jobs_limits_of(q))
        where q.queue = v_queue;
        return next v_queue;
    end loop;
end
$$;

comment on function _jobs_limits_declare is
    'internal: sets limits as code declares them; returns the queues of those';

-- functions/limits/_jobs_limits_diff.sql
-- limits: what the code of an app declares, an array of objects with the arguments of jobs_limit;
-- `name` is the queue. A change by hand is no difference, because what code declared last is kept
-- in the row. The verdicts: see _jobs_verdict. A queue whose limits somebody has removed by hand is
-- there: what code declared last still stands in its row. made, current: what the row held then, and
-- holds now.
create or replace function _jobs_limits_diff(app text, limits jsonb)
returns table (
    name text,
    verdict text,
    definition jsonb,
    declared jsonb,
    declared_at timestamptz,
    is_changed_by_hand boolean,
    made jsonb,
    current jsonb
)
language sql stable security definer
set search_path from current
as $$
with defined as (
    select i.item ->> 'name' as name, i.item - 'name' as definition
    from jsonb_array_elements(_jobs_limits_diff.limits) i(item)
), there as (
    select q.queue, q.declared, _jobs_limits_of(q) as limits from jobs_queues q
    where q.declared is not null
        or num_nonnulls(q.max_running, q.max_running_per_group, q.rate_count,
                        q.group_rate_count) > 0
)
select coalesce(d.name, t.queue), _jobs_verdict(t.queue is not null, t.declared, d.definition),
    d.definition, t.declared -> 'definition', (t.declared ->> 'at')::timestamptz,
    coalesce(t.declared -> 'made' <> t.limits, t.queue is not null),
    t.declared -> 'made', t.limits
from defined d
full join there t on t.queue = d.name
where d.name is not null or t.declared ->> 'app' = _jobs_limits_diff.app
order by 1
$$;

comment on function _jobs_limits_diff is
    'internal: how the limits that code declares differ from those that code declared last';

-- functions/limits/_jobs_limits_of.sql
create or replace function _jobs_limits_of(q jobs_queues) returns jsonb
language sql immutable
set search_path from current
return jsonb_build_object(
    'max_running', q.max_running, 'max_running_per_group', q.max_running_per_group,
    'rate_count', q.rate_count, 'rate_period', q.rate_period,
    'group_rate_count', q.group_rate_count, 'group_rate_period', q.group_rate_period,
    'in_order', q.in_order);

comment on function _jobs_limits_of is 'internal: the limits of a queue, to compare them';

-- functions/limits/_jobs_limits_undeclare.sql
create or replace function _jobs_limits_undeclare(queue text) returns void
language plpgsql volatile security definer
set search_path from current
as $$
begin
    perform from jobs_limit(queue);
    update jobs_queues q set declared = null where q.queue = _jobs_limits_undeclare.queue;
end
$$;

comment on function _jobs_limits_undeclare is
    'internal: removes the limits of a queue, and that code has declared them';

-- functions/limits/_jobs_lower_turns_from.sql
-- For turns that were inserted by hand, or while the clock was put back.
create or replace function _jobs_lower_turns_from(queues text[]) returns void
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
update jobs_turns_from f
set turns_from = '0001-01-02 00:00:00+00'
where f.queue = any (queues) and f.turns_from > (
    select min(n.turn_at)
    from unnest(_jobs_turn_types(f.queue)) k(job_type)
    cross join lateral (
        select t.turn_at from jobs_turns t
        where t.queue = f.queue and t.job_type = k.job_type
        order by t.turn_at
        limit 1
    ) n)
$$;

comment on function _jobs_lower_turns_from is
    'internal: claims read all turns of those of these queues that have earlier ones than they read';

-- functions/limits/_jobs_next_turn.sql
create or replace function _jobs_next_turn(queue text, job_types text[]) returns timestamptz
language sql volatile
set search_path from current
as $$
select min(n.turn_at)
from unnest(coalesce(job_types, _jobs_turn_types(queue))) k(job_type)
cross join lateral (
    select t.turn_at from jobs_turns t
    where t.queue = _jobs_next_turn.queue and t.job_type = k.job_type
        and t.turn_at >= coalesce((select f.turns_from from jobs_turns_from f
                                   where f.queue = _jobs_next_turn.queue
                                       and f.marked_at <= clock_timestamp()), '-infinity')
    order by t.turn_at
    limit 1
) n
$$;

comment on function _jobs_next_turn is
    'internal: when a claim of these types looks at the next group of the queue; null: at none';

-- functions/limits/_jobs_queue_opens_at.sql
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
    -- That moment itself would be later than the caller's.
    when q.rate_count is not null then (
        select coalesce(nullif(_jobs_room_at(q.queue, '', q.rate_count, q.rate_period, c.now), c.now),
                        '-infinity')
        from (select clock_timestamp() as now offset 0) c)
    when q.max_running is not null then '-infinity'
    end::timestamptz
from jobs_queues q where q.queue = _jobs_queue_opens_at.queue
$$;

comment on function _jobs_queue_opens_at is
    'internal: when the queue''s own limits allow the next start: -infinity: now; infinity: after an'
    ' end; null: it has none';

-- functions/limits/_jobs_queue_room.sql
-- Two claims never exceed a queue's limits: each holds the queue's lock until its commit, and what
-- runs is counted by a statement that begins after the lock was obtained.
--
-- A claim waits for the lock, because a refused one would have to come again; but for less than
-- deadlock_timeout. A claim in a long transaction stops the queue for as long.
create or replace function _jobs_queue_room(settings jobs_queues, wanted int) returns int
language plpgsql volatile
set search_path from current
set lock_timeout = '50ms'
as $$
declare
    v_key constant bigint := _jobs_advisory_key('limits', settings.queue);
begin
    perform _jobs_check_isolation();
    if not pg_try_advisory_xact_lock(v_key) then
        begin
            perform pg_advisory_xact_lock(v_key);
        exception
            when lock_not_available then return 0;
        end;
    end if;
    return least(wanted, _jobs_queue_room_now(settings, clock_timestamp()));
end
$$;

comment on function _jobs_queue_room is
    'internal: locks a queue''s limits, and says how many of its jobs may start now';

-- functions/limits/_jobs_queue_room_now.sql
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

-- functions/limits/_jobs_raise_turns_from.sql
-- Two sessions do not raise it together: the second skips the locked row. Nor does the second wait,
-- for a claim may be in a long transaction: only who holds the lock inserts the row.
--
-- Whoever inserts a turn gets its transaction's number first, and reads the clock for turn_at then,
-- or keeps the turn_at of a turn that the same transaction deletes. This transaction gets its
-- number after its begin. So while the clock goes on, each transaction that inserts a turn before
-- marked_at has a lower number than marked_xid. Once all of those have ended, each such turn is
-- visible, or is the copy of a visible one: the least of those that are visible bounds all.
--
-- The xmax of a snapshot would not do as marked_xid: it is the number after the last transaction
-- that has ended, and a transaction with that number or a higher one may run already.
create or replace function _jobs_raise_turns_from(queue text) returns void
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := clock_timestamp();
    v_marked_at constant timestamptz := now();
    v_marked_xid constant bigint := pg_current_xact_id()::text::bigint;
    v_row jobs_turns_from;
begin
    select f.* into v_row from jobs_turns_from f
    where f.queue = _jobs_raise_turns_from.queue
    for no key update skip locked;
    if not found then
        if exists (select from jobs_turns_from f where f.queue = _jobs_raise_turns_from.queue)
            or not pg_try_advisory_xact_lock(
                _jobs_advisory_key('turns', _jobs_raise_turns_from.queue))
        then
            return;
        end if;
        insert into jobs_turns_from (queue, turns_from, marked_at, marked_xid)
        values (_jobs_raise_turns_from.queue, '0001-01-02 00:00:00+00', v_marked_at,
                v_marked_xid)
        on conflict (queue) do nothing;
    elsif v_row.marked_at > v_now then
        -- The clock was put back.
        update jobs_turns_from f
        set turns_from = '0001-01-02 00:00:00+00',
            marked_at = v_marked_at,
            marked_xid = v_marked_xid
        where f.queue = _jobs_raise_turns_from.queue;
    elsif pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= v_row.marked_xid then
        update jobs_turns_from f
        set turns_from = least(v_row.marked_at, (
                select min(n.turn_at)
                from unnest(_jobs_turn_types(_jobs_raise_turns_from.queue)) k(job_type)
                cross join lateral (
                    select t.turn_at from jobs_turns t
                    where t.queue = _jobs_raise_turns_from.queue and t.job_type = k.job_type
                        and t.turn_at >= v_row.turns_from
                    order by t.turn_at
                    limit 1
                ) n)),
            marked_at = v_marked_at,
            marked_xid = v_marked_xid
        where f.queue = _jobs_raise_turns_from.queue;
    end if;
end
$$;

comment on function _jobs_raise_turns_from is
    'internal: raises the moment from which claims read the turns of a queue';

-- functions/limits/_jobs_rank.sql
-- In which order the jobs of a group start: first those that have begun before (-9 to 9), then the
-- others (11 to 29); among both the higher priority first. ix_jobs_group has this expression.
-- PostgreSQL inlines this function, so it has no settings of its own.
create or replace function _jobs_rank(attempt int, priority int) returns int
language sql immutable
return (attempt = 0)::int * 20 - priority;

comment on function _jobs_rank is
    'internal: a job''s rank in its group: first what has begun before, then by priority';

-- functions/limits/_jobs_room_at.sql
create or replace function _jobs_room_at(
    queue text,
    group_key text,
    allowed int,
    period interval,
    at timestamptz
) returns timestamptz
language sql volatile
set search_path from current
as $$
select case when _jobs_starts_room(s.moments, s.counts, allowed, period, at) > 0 then at
    else (select _jobs_after(min(u.moment), period) from unnest(s.moments) u(moment)
          where u.moment > _jobs_after(at, -period)) end
from jobs_starts s
where s.queue = _jobs_room_at.queue and s.group_key = _jobs_room_at.group_key
$$;

comment on function _jobs_room_at is
    'internal: when a rate allows the next start, not before that moment; null: nothing has started';

-- functions/limits/_jobs_share_of_groups.sql
-- Jobs without a group get the share of one group. Where a share is no whole number, chance
-- decides.
create or replace function _jobs_share_of_groups(
    queue text,
    job_types text[],
    max_jobs int,
    due timestamptz
) returns int
language plpgsql volatile
set search_path from current
as $$
declare
    v_groups int;
begin
    if _jobs_next_level(queue, 10, null) is null then
        return max_jobs;
    end if;
    v_groups := (
        select count(distinct d.group_key)
        from unnest(coalesce(job_types, _jobs_turn_types(queue))) k(job_type)
        cross join lateral (
            select t.group_key from jobs_turns t
            where t.queue = _jobs_share_of_groups.queue and t.job_type = k.job_type
                and t.turn_at >= coalesce((select f.turns_from from jobs_turns_from f
                                           where f.queue = _jobs_share_of_groups.queue
                                               and f.marked_at <= due), '-infinity')
                and t.turn_at <= due
            order by t.turn_at
            limit max_jobs
        ) d);
    return max_jobs - floor(max_jobs::float8 / (v_groups + 1) + random())::int;
end
$$;

comment on function _jobs_share_of_groups is
    'internal: how many of the jobs of a claim are for groups that are due';

-- functions/limits/_jobs_spend.sql
-- The caller holds the lock of the queue or of the group, so no other session writes the same row.
--
-- Up to 32 moments are exact. Beyond that the starts of one 64th of the period count as the latest
-- of them. So never too many start, and a start is at most a 64th of the period late.
--
-- A handler begins a little after its job was claimed, and not always equally late. So a start
-- counts from 10 ms after its claim, or from a hundredth of the period if that is less.
create or replace function _jobs_spend(
    queue text,
    group_key text,
    starts int,
    period interval
) returns void
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
declare
    c_exact constant int := 32;
    c_parts constant int := 64;
    v_seconds constant float8 := extract(epoch from period);
    v_now constant timestamptz := clock_timestamp();
    v_moment constant timestamptz := v_now + least(interval '10 ms', period / 100);
    v_moments timestamptz[];
    v_counts int[];
    v_last int;
begin
    select array_agg(u.moment order by u.moment), array_agg(u.starts order by u.moment)
    into v_moments, v_counts
    from jobs_starts s
    cross join lateral unnest(s.moments, s.counts) u(moment, starts)
    where s.queue = _jobs_spend.queue and s.group_key = _jobs_spend.group_key
        and u.moment > _jobs_after(v_now, -period);
    v_last := cardinality(v_moments);
    if v_last >= c_exact
        and floor(extract(epoch from v_moments[v_last])::float8 / v_seconds * c_parts)
            = floor(extract(epoch from v_moment)::float8 / v_seconds * c_parts)
    then
        v_moments[v_last] := greatest(v_moments[v_last], v_moment);
        v_counts[v_last] := v_counts[v_last] + _jobs_spend.starts;
    else
        v_moments := v_moments || v_moment;
        v_counts := v_counts || _jobs_spend.starts;
    end if;
    insert into jobs_starts as s (queue, group_key, moments, counts, counts_until)
    values (_jobs_spend.queue, _jobs_spend.group_key, v_moments, v_counts,
            _jobs_after(v_moment, period))
    on conflict (queue, group_key) do update
    set moments = excluded.moments,
        counts = excluded.counts,
        counts_until = excluded.counts_until;
end
$$;

comment on function _jobs_spend is
    'internal: notes that so many jobs of a queue (group_key empty) or a group start now';

-- functions/limits/_jobs_starts_room.sql
-- The rule: at most `allowed` starts in any window as long as the period, wherever it begins. A
-- token bucket of n tokens would allow 2n - 1 in one period.
create or replace function _jobs_starts_room(
    moments timestamptz[],
    counts int[],
    allowed int,
    period interval,
    at timestamptz
) returns int
language sql immutable
set search_path from current
as $$
select greatest(allowed - coalesce(sum(s.starts), 0), 0)::int
from unnest(moments, counts) s(moment, starts)
where s.moment > _jobs_after(at, -period)
$$;

comment on function _jobs_starts_room is
    'internal: how many more may start at that moment, given the starts before';

-- functions/limits/_jobs_told_group.sql
-- Of the pending jobs of a group the first 1,000 are looked at for one that waits for its retry.
create or replace function _jobs_told_group(settings jobs_queues, group_key text) returns text
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
select coalesce(
    case when settings.in_order then (
        select format('waits for the retry of job %s', j.id)
        from (
            select j.id, j.attempt, j.run_at from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue = settings.queue
                and j.group_key = _jobs_told_group.group_key and j.status = 'pending'
            order by j.job_type, _jobs_rank(j.attempt, j.priority), j.run_at, j.id
            limit 1000
        ) j
        where j.attempt > 0 and j.run_at > clock_timestamp()
        limit 1) end,
    _jobs_told_limit(settings, _jobs_told_group.group_key))
$$;

comment on function _jobs_told_group is
    'internal: why a group lets nothing start now: the retry of a job, in order, or a limit';

-- functions/limits/_jobs_told_limit.sql
create or replace function _jobs_told_limit(settings jobs_queues, group_key text default null)
returns text
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
as $$
select case
    when l.places = 0 then l.name || ' is 0'
    when r.running >= l.places then format('%s of %s run', r.running, l.places)
    when l.starts is not null and o.opens_at > clock_timestamp() then
        format('rate %s per %s used up, next in %s', l.starts, l.period,
               date_trunc('second', o.opens_at - clock_timestamp()) + interval '1 second')
    end
from (
    select 'max_running' as name, settings.max_running as places, settings.rate_count as starts,
        settings.rate_period as period
    where group_key is null
    union all
    select 'max_running_per_group', settings.max_running_per_group, settings.group_rate_count,
        settings.group_rate_period
    where group_key is not null
) l
cross join lateral (
    select case when l.places is not null then (
        select count(*) from (
            select from jobs j
            where j.status = 'processing' and j.finished_at is null and j.queue = settings.queue
                and _jobs_told_limit.group_key is null
            limit l.places) j) + (
        select count(*) from (
            select from jobs j
            where j.status = 'processing' and j.finished_at is null and j.queue = settings.queue
                and j.group_key is not null and j.group_key = _jobs_told_limit.group_key
            limit l.places) j) end as running
) r
cross join lateral (
    select case when l.starts is not null then _jobs_room_at(
        settings.queue, coalesce(_jobs_told_limit.group_key, ''), l.starts, l.period,
        clock_timestamp()) end as opens_at
) o
$$;

comment on function _jobs_told_limit is
    'internal: which limit of a queue or a group lets nothing start now; null: none';

-- functions/limits/_jobs_turn_types.sql
-- Goes from type to type by one index probe each.
create or replace function _jobs_turn_types(queue text) returns text[]
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_types text[] := '{}';
    v_last text := '';
begin
    loop
        select t.job_type into v_last
        from jobs_turns t
        where t.queue = _jobs_turn_types.queue and t.job_type > v_last
        order by t.queue, t.job_type, t.turn_at
        limit 1;
        exit when not found;
        v_types := v_types || v_last;
    end loop;
    return v_types;
end
$$;

comment on function _jobs_turn_types is 'internal: the types for which a queue has turns';

-- functions/limits/_jobs_who_runs.sql
create or replace function _jobs_who_runs(queue text, group_key text) returns text
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
as $$
with running as (
    select j.id, j.worker, coalesce(j.started_at, j.updated_at) as since,
        row_number() over (order by coalesce(j.started_at, j.updated_at), j.id) as place
    from jobs j
    where j.status = 'processing' and j.finished_at is null and j.queue = _jobs_who_runs.queue
        and (_jobs_who_runs.group_key is null or j.group_key = _jobs_who_runs.group_key)
)
select format('ids %s%s, the oldest for %s by worker %s',
              string_agg(r.id::text, ', ' order by r.place) filter (where r.place <= 5),
              case when count(*) > 5 then format(' and %s more', count(*) - 5) else '' end,
              date_trunc('second', clock_timestamp() - min(r.since)),
              min(r.worker) filter (where r.place = 1))
from running r
having count(*) > 0
$$;

comment on function _jobs_who_runs is
    'internal: which jobs of a queue or a group run, for how long, and by whom';

-- functions/lease: how long a job stays held, and how it is taken back
-- functions/lease/jobs_heartbeat.sql
-- Two sessions cannot both win: the heartbeat prolongs a lease only under the row's lock, after it
-- has read the fence. It skips a row that another session has locked, for example a handler's open
-- transaction, because waiting for that row would let all other leases run out. Recovery skips such
-- a row too. A skipped row is `held` until that session commits, but its lease stays as it was.
create or replace function jobs_heartbeat(
    worker text,
    job_ids bigint[],
    attempts int[],
    lease interval
) returns table (job_id bigint, state text)
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_held bigint[];
begin
    perform _jobs_check_batch(worker, job_ids, attempts, array[cardinality(job_ids)]);
    if lease is null then
        raise exception using errcode = 'JQ003', message = 'lease is missing';
    end if;
    perform _jobs_check_claim(worker, lease => lease);
    v_held := _jobs_lock_fenced_many(worker, job_ids, attempts, wait => false);
    update jobs j set lease_until = _jobs_after(clock_timestamp(), lease)
    where j.id = any (v_held);
    return query
    select u.job_id,
        case
            when j.id is null then 'lost'
            when j.cancel_requested_at is not null then 'cancel'
            else 'held'
        end
    from unnest(job_ids, attempts) with ordinality u(job_id, attempt, place)
    -- Lateral and with a limit: the planner cannot start the join from the table.
    left join lateral (
        select m.id, m.cancel_requested_at
        from jobs m
        where m.id = u.job_id
            and m.worker = jobs_heartbeat.worker
            and m.attempt = u.attempt
            and (m.finished_at is not null) is false
        limit 1
    ) j on true
    order by u.place;
end
$$;

comment on function jobs_heartbeat is
    'prolongs leases; says for each job whether it is held, lost, or to be cancelled';

-- functions/lease/jobs_progress.sql
-- Two sessions cannot both win: each row is locked, and its fence is read under the lock. A row that
-- another session has locked is skipped, since the worker reports again soon: a handler's open
-- transaction must not hold up what the other handlers report.
--
-- No index has the column, and updated_at stays as it is, as at a heartbeat.
create or replace function jobs_progress(
    worker text,
    job_ids bigint[],
    attempts int[],
    progress jsonb[]
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_ids bigint[];
    v_progress jsonb[];
    v_held bigint[];
begin
    perform _jobs_check_batch(worker, job_ids, attempts, array[cardinality(jobs_progress.progress)]);
    if array_ndims(jobs_progress.progress) > 1 or array_lower(jobs_progress.progress, 1) <> 1 then
        raise exception using errcode = 'JQ003', message = 'progress must be a plain list';
    end if;
    v_held := _jobs_lock_fenced_many(worker, job_ids, attempts, wait => false);
    select array_agg(u.job_id), array_agg(u.progress) into v_ids, v_progress
    from (
        select u.job_id, u.progress
        from unnest(job_ids, attempts, jobs_progress.progress) u(job_id, attempt, progress)
        order by u.job_id, u.attempt
    ) u;
    return query
    update jobs j
    set progress = v_progress[width_bucket(j.id, v_ids)]
    where j.id = any (v_held)
    returning j.id;
end
$$;

comment on function jobs_progress is
    'stores what handlers report of jobs that worker holds in these attempts; returns the ids';

-- functions/lease/jobs_recover.sql
create or replace function jobs_recover(worker text default null) returns setof jobs
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_job jobs;
    v_jobs bigint := 0;
begin
    for v_job in select (r.job).* from _jobs_recover(_jobs_workers_gone(), worker) r loop
        v_jobs := v_jobs + 1;
        return next v_job;
    end loop;
    if worker is not null and v_jobs > 0 then
        perform _jobs_audit_note('recover', jobs => v_jobs, filters => jsonb_build_object(
            'worker', worker));
    end if;
    if exists (select from jobs_flows f) then
        perform _jobs_flow_attach(1000);
        perform _jobs_flow_resolve(1000);
        perform _jobs_flow_tidy(100);
    end if;
    perform _jobs_history_add_alone();
end
$$;

comment on function jobs_recover is
    'takes back jobs whose lease is over or whose worker is gone, and all jobs of `worker`';

-- functions/lease/_jobs_reconcile.sql
-- backend: the process that served a claim whose answer was lost. While it lives it may still make
-- that claim.
create or replace function _jobs_reconcile(
    worker text,
    job_ids bigint[],
    attempts int[],
    backend int,
    registration bigint default null
) returns table (released bigint, is_settled boolean)
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set jit = off
as $$
#variable_conflict use_column
begin
    -- Read first: a claim that ends in between is undone or seen.
    is_settled := backend is not null and not exists (
        select from pg_stat_activity a where a.pid = backend and a.pid <> pg_backend_pid());
    released := _jobs_release_unnamed(worker, job_ids, attempts, 'infinity', registration);
    -- A row that another session has locked is not given back yet.
    is_settled := is_settled and 0 = (
        select count(*)
        from (
            select from jobs j
            where j.status = 'processing' and j.worker = _jobs_reconcile.worker
                and j.started_at < 'infinity'
                and not exists (select from unnest(job_ids, attempts) n(id, attempt)
                                where n.id = j.id and n.attempt = j.attempt)
            -- In the order of ix_jobs_status, as in _jobs_release_unnamed.
            order by j.status, j.finished_at
        ) u);
    return next;
end
$$;

comment on function _jobs_reconcile is
    'internal: gives back what a worker does not name; is_settled: no lost claim can follow';

-- functions/lease/_jobs_recover.sql
-- Two sessions cannot both win: recovery locks rows with `skip locked`, and a session that locks a
-- row later reads its new status. Recovery skips a job whose completion is under way, because the
-- completion holds the row's lock.
--
-- gone: workers that were found dead. worker: takes all jobs that it claimed before claimed_before.
-- sparing: a worker's tick leaves out the worker's own jobs. The worker may have hung for longer
-- than its leases. If no other worker has taken the jobs meanwhile, the worker goes on with them.
--
-- A worker whose heartbeats are fresh keeps jobs whose leases are over: a heartbeat passes over a
-- row that another session has locked, a handler's own transaction for example, and prolongs the
-- lease once that lock is free.
create or replace function _jobs_recover(
    gone text[],
    worker text default null,
    claimed_before timestamptz default 'infinity',
    sparing text default null,
    max_jobs int default null
) returns table (job jobs, lost_by text)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_fresh text[] := array(
        select t.worker from jobs_worker_ticks t where t.beats_until > v_now);
    v_ids bigint[];
    v_workers text[];
begin
    -- In the order of the keys that the jobs may take again, as _jobs_keyed has it.
    select coalesce(array_agg(l.id order by l.keyed_type, l.key), '{}'),
        array_agg(l.worker order by l.keyed_type, l.key)
    into v_ids, v_workers
    from (
        select j.id, j.worker,
            case when j.unique_scope = 'pending' then j.job_type end as keyed_type,
            case when j.unique_scope = 'pending' then j.unique_key end as key
        from jobs j
        where j.status = 'processing'
            and (sparing is null or j.worker is distinct from sparing)
            and (j.lease_until < v_now and (j.worker is null or j.worker <> all (v_fresh))
                 -- A job claimed since v_now was claimed by a new worker of that name.
                 or (j.worker = any (gone) and coalesce(j.started_at, '-infinity') < v_now)
                 or (j.worker = _jobs_recover.worker
                     and coalesce(j.started_at, '-infinity') < claimed_before))
        -- In the order of ix_jobs_status: by ix_jobs_job_type the planner may read all of it.
        order by j.status, j.finished_at
        limit max_jobs
        for no key update skip locked
    ) l;
    for v_place in 1..cardinality(v_ids) loop
        return query
        select _jobs_end_attempt(v_ids[v_place], lost_at => v_now), v_workers[v_place];
    end loop;
    perform _jobs_signal_jobs(v_ids), _jobs_count_ends(v_ids);
    -- A claim of a dead worker may have been undone while others passed over its rows.
    perform _jobs_signal(q.queue, '-infinity')
    from jobs_workers w cross join lateral unnest(w.queues) q(queue)
    where w.worker = any (gone)
    group by q.queue;
    delete from jobs_workers w
    where w.worker = any (array(
        select g.worker from jobs_workers g
        where g.worker = any (gone)
            and not exists (select from jobs_worker_ticks t
                            where t.worker = g.worker and t.missed_at is null)
            and (select true from jobs j
                 where j.status = 'processing' and j.worker = g.worker
                 order by j.status, j.finished_at
                 limit 1) is null
        for update of g skip locked));
    delete from jobs_worker_ticks t
    where t.worker = any (gone) and t.missed_at is not null
        and not exists (select from jobs_workers w where w.worker = t.worker);
end
$$;

comment on function _jobs_recover is
    'internal: jobs_recover, of at most max_jobs jobs; lost_by: the worker that held each';

-- functions/lease/_jobs_recover_own.sql
-- A worker that has got a name knows that the last holder of that name is dead. It takes back that
-- holder's jobs in parts, so that no statement takes long, until this tells of less than max_jobs.
create or replace function _jobs_recover_own(
    worker text,
    claimed_before timestamptz,
    max_jobs int
) returns jsonb
language sql volatile security definer
set search_path from current
as $$
select _jobs_recover_told('{}', worker, claimed_before, max_jobs => max_jobs)
$$;

comment on function _jobs_recover_own is
    'internal: takes back jobs that a worker of this name claimed before, and tells which';

-- functions/lease/_jobs_recover_told.sql
-- Workers log what they take back. Of each lost worker's jobs the first ten ids are enough, since
-- one death may lose thousands.
create or replace function _jobs_recover_told(
    gone text[],
    worker text default null,
    claimed_before timestamptz default 'infinity',
    sparing text default null,
    max_jobs int default null
) returns jsonb
language sql volatile
set search_path from current
as $$
select jsonb_agg(to_jsonb(l) order by l.jobs desc, l.worker)
from (
    select r.lost_by as worker, count(*) as jobs,
        (array_agg((r.job).id order by (r.job).id))[:10] as ids,
        (array_agg((r.job).id order by (r.job).id)
             filter (where (r.job).status = 'failed'))[:10] as failed
    from _jobs_recover(gone, worker, claimed_before, sparing, max_jobs) r
    group by r.lost_by
) l
$$;

comment on function _jobs_recover_told is
    'internal: recovers; by lost worker: number of jobs, first ids, ids that failed; null: no job';

-- functions/lease/_jobs_release_unnamed.sql
-- Two sessions cannot both win: this function locks the rows, and jobs_release_many reads the fence
-- under the locks. A row that another session has locked is skipped until the next heartbeat,
-- because waiting for that row would let the leases of all other jobs run out.
--
-- A worker names all jobs that it knows to hold. A job that it holds and does not name was claimed
-- by a statement whose answer was lost. claimed_before: leaves alone what was claimed later, since
-- its answer may be on its way. registration: the listening_key of the worker that calls. Where
-- another worker has got its name meanwhile, nothing is given back.
create or replace function _jobs_release_unnamed(
    worker text,
    job_ids bigint[],
    attempts int[],
    claimed_before timestamptz,
    registration bigint default null
) returns bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set jit = off
as $$
declare
    v_ids bigint[];
    v_attempts int[];
begin
    if registration is not null and not exists (
        select from jobs_workers w
        where w.worker = _jobs_release_unnamed.worker and w.listening_key = registration)
    then
        return 0;
    end if;
    select array_agg(u.id), array_agg(u.attempt) into v_ids, v_attempts
    from (
        select j.id, j.attempt from jobs j
        where j.status = 'processing' and j.worker = _jobs_release_unnamed.worker
            and j.started_at < claimed_before
            and not exists (select from unnest(job_ids, attempts) n(id, attempt)
                            where n.id = j.id and n.attempt = j.attempt)
        -- In the order of ix_jobs_status, or the planner may read the whole table by its key.
        order by j.status, j.finished_at
        for no key update skip locked
    ) u;
    if v_ids is null then
        return 0;
    end if;
    return (select count(*) from jobs_release_many(worker, v_ids, v_attempts));
end
$$;

comment on function _jobs_release_unnamed is
    'internal: gives back the jobs of claims whose answers never reached their worker';

-- functions/lease/_jobs_worker_beat.sql
-- Two sessions cannot both win: jobs_heartbeat and _jobs_release_unnamed lock the rows and read the
-- fence.
create or replace function _jobs_worker_beat(
    worker text,
    job_ids bigint[],
    attempts int[],
    lease interval,
    answer_within interval,
    registration bigint default null
) returns table (job_id bigint, state text)
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
begin
    -- The next heartbeat comes after a third of the lease.
    update jobs_worker_ticks t
    set beats_until = _jobs_after(clock_timestamp(), lease / 2),
        leases_until = _jobs_after(clock_timestamp(), lease)
    where t.worker = _jobs_worker_beat.worker;
    perform _jobs_release_unnamed(worker, job_ids, attempts, clock_timestamp() - answer_within,
                                  registration);
    return query
    select h.job_id, h.state from jobs_heartbeat(worker, job_ids, attempts, lease) h;
end
$$;

comment on function _jobs_worker_beat is
    'internal: jobs_heartbeat of all that a worker holds; what else it holds is given back';

-- functions/workers: the register of workers, their modes, and signals to them
-- functions/workers/jobs_channel.sql
-- A channel's name has at most 63 bytes, a schema's name at most 58, which leaves room for `.jobs`
-- only. A longer topic of a long schema name gets a digest in place of the schema's name, and a
-- colon, because a schema may be named like a digest. It is PL/pgSQL, because each enqueue that
-- notifies calls it twice, and PostgreSQL sets up an SQL function anew in each query.
create or replace function jobs_channel(topic text) returns text
language plpgsql stable
set search_path from current
as $$
begin
    return case
        when octet_length(current_schema()) + octet_length(topic) < 63
            then current_schema() || '.' || topic
        else md5(current_schema()) || ':' || topic
    end;
end
$$;

comment on function jobs_channel is
    'the NOTIFY channel of a topic in this schema: jobs, jobs_cancel, jobs_done, or the internal'
    ' jobs_signal';

-- functions/workers/jobs_worker_start.sql
-- Two sessions cannot both win: the advisory lock of the name is exclusive, and a session keeps it
-- until the session ends.
--
-- The keys of the modes are new at each start. A producer whose snapshot is older than this start
-- finds the old keys, which nobody holds, and notifies.
create or replace function jobs_worker_start(
    worker text,
    queues text[],
    job_types text[],
    concurrency int,
    version text default null
) returns setof jobs_workers
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    v_queues text[] := coalesce(jobs_worker_start.queues, '{default}');
    v_name_key bigint;
    v_tries int := 5;
begin
    perform _jobs_check_claim(worker, queues, job_types => job_types);
    v_name_key := _jobs_advisory_key('name', jobs_worker_start.worker);
    -- Tries again: a session that checks whether a worker lives holds this lock for a moment.
    while not pg_try_advisory_lock(v_name_key) loop
        v_tries := v_tries - 1;
        if v_tries = 0 then
            raise exception using errcode = 'JQ006',
                message = format('a living worker is named %s', jobs_worker_start.worker),
                hint = 'Give each worker a name of its own, or leave the name out.';
        end if;
        perform pg_sleep(0.01);
    end loop;
    insert into jobs_worker_ticks as t (worker) values (jobs_worker_start.worker)
    on conflict (worker) do update
    set seen_at = excluded.seen_at, missed_at = null, beats_until = null,
        leases_until = null;
    return query
    insert into jobs_workers as w (
        worker, queues, job_types, concurrency, version, name_key, listening_key, polling_key)
    select jobs_worker_start.worker, v_queues, jobs_worker_start.job_types,
        coalesce(jobs_worker_start.concurrency, 1), jobs_worker_start.version, v_name_key,
        hashtextextended(gen_random_uuid()::text, 0), hashtextextended(gen_random_uuid()::text, 0)
    on conflict (worker) do update
    set started_at = excluded.started_at, queues = excluded.queues,
        job_types = excluded.job_types, concurrency = excluded.concurrency,
        version = excluded.version, name_key = excluded.name_key,
        listening_key = excluded.listening_key, polling_key = excluded.polling_key
    returning w.*;
    -- Makes other workers watch this one.
    perform pg_notify(jobs_channel('jobs_signal'), 'started ' || q.queue)
    from unnest(v_queues) q(queue)
    where pg_notification_queue_usage() < 0.5;
end
$$;

comment on function jobs_worker_start is
    'registers a worker on its LISTEN connection, whose session holds the name from now on';

-- functions/workers/jobs_worker_stop.sql
create or replace function jobs_worker_stop(worker text) returns void
language sql volatile security definer
set search_path from current
begin atomic
    delete from jobs_worker_ticks t where t.worker = jobs_worker_stop.worker;
    delete from jobs_workers w where w.worker = jobs_worker_stop.worker;
end;

comment on function jobs_worker_stop is
    'takes a worker off the register; its name is free when its LISTEN connection closes';

-- functions/workers/_jobs_advisory_key.sql
-- The seed is the table's oid, so that two schemas of one database never share a lock.
create or replace function _jobs_advisory_key(kind text, name text) returns bigint
language sql stable
set search_path from current
return hashtextextended(kind || ' ' || name, 'jobs'::regclass::oid::bigint);

comment on function _jobs_advisory_key is
    'internal: the key of an advisory lock; kind: name (of a worker), gate or polling (of a queue),'
    ' circles, history';

-- functions/workers/_jobs_expire.sql
-- Two sessions cannot both end a job: a locked row is skipped, and a claim's commit changes the
-- status that the lock is read with. A job that failed or was lost before has begun, so its retries
-- do not expire.
create or replace function _jobs_expire(max_jobs int) returns bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_ids bigint[];
begin
    v_ids := array(
        select j.id from jobs j
        where j.status = 'pending' and j.expires_at is not null
            and j.retry_count = 0 and j.crash_count = 0
            and j.expires_at <= v_now
        order by j.expires_at
        limit max_jobs
        for no key update skip locked);
    if v_ids <> '{}' then
        update jobs j
        set status = 'cancelled',
            error = 'expired',
            updated_at = v_now,
            finished_at = v_now
        where j.id = any (v_ids);
        perform _jobs_signal_jobs(v_ids), _jobs_count_ends(v_ids);
    end if;
    return cardinality(v_ids);
end
$$;

comment on function _jobs_expire is
    'internal: ends up to max_jobs jobs that have not begun by their expires_at; returns how many';

-- functions/workers/_jobs_is_locked.sql
-- One expression takes and releases the lock: a query that is cancelled between two expressions
-- would keep the lock. PostgreSQL inlines this function, so it has no settings of its own.
create or replace function _jobs_is_locked(key bigint) returns boolean
language sql volatile
return case when pg_try_advisory_lock_shared(key) then not pg_advisory_unlock_shared(key)
    else true end;

comment on function _jobs_is_locked is
    'internal: whether another session holds this advisory lock exclusively';

-- functions/workers/_jobs_may_be_silent.sql
-- A producer is silent, that is, sends no signal, while a worker of its queue polls, and holds the
-- queue's gate as a shared lock until its transaction has ended (_jobs_notify). Signals also end
-- while the notification queue is half full (_jobs_signal).
create or replace function _jobs_may_be_silent(worker text, queues text[])
returns table (may_be_silent boolean, others_poll boolean)
language plpgsql volatile
set search_path from current
as $$
begin
    others_poll := exists (
        select from jobs_workers w
        where w.worker <> _jobs_may_be_silent.worker and w.queues && _jobs_may_be_silent.queues
            and _jobs_is_locked(w.polling_key));
    may_be_silent := others_poll or pg_notification_queue_usage() >= 0.5 or exists (
        select from unnest(_jobs_may_be_silent.queues) q(queue)
        cross join lateral (select _jobs_advisory_key('gate', q.queue)) g(key)
        where case when pg_try_advisory_lock(g.key) then not pg_advisory_unlock(g.key)
            else true end);
    return next;
end
$$;

comment on function _jobs_may_be_silent is
    'internal: whether jobs of these queues may be or become claimable without a signal';

-- functions/workers/_jobs_session_holds.sql
-- A session gets a lock that it holds already, so only pg_locks tells. It shows a key in two
-- halves.
create or replace function _jobs_session_holds(key bigint) returns boolean
language sql volatile
set search_path from current
return exists (
    select from pg_locks l
    where l.locktype = 'advisory' and l.pid = pg_backend_pid() and l.mode = 'ExclusiveLock'
        and l.objsubid = 1 and (l.classid::bigint << 32 | l.objid::bigint) = key);

comment on function _jobs_session_holds is
    'internal: whether this session holds this advisory lock exclusively';

-- functions/workers/_jobs_signal.sql
-- Tells the workers of a queue that jobs have become claimable. Sends the queue's name on channel
-- jobs, for everybody, and the news for workers on channel jobs_signal:
--
--     <listening_key of the picked worker, or 0> <levels> <run_at in microseconds> <queue>
--
-- A picked worker is in mode listening, so it has a free slot and claims at once. As many workers
-- are picked as there are jobs, 16 at most. The other workers look 0.1 to 0.2 s later, in case a
-- picked one hangs (pgjobs/worker/listener.py). levels has bit n for priority n - 9. run_at is the
-- least of the jobs; one before 1970 or after 9999 is sent as 0.
--
-- While the server's notification queue is half full this function sends nothing, because a full
-- queue would make the caller's commit fail. Workers see that and look by themselves.
create or replace function _jobs_signal(
    queue text,
    run_at timestamptz,
    levels int default 524287,
    jobs bigint default 1,
    job_types text[] default null
) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
as $$
begin
    -- A longer name than a column allows does not fit into a notification.
    if queue is null or octet_length(queue) > 512 or pg_notification_queue_usage() >= 0.5 then
        return;
    end if;
    perform pg_notify(jobs_channel('jobs'), queue),
        pg_notify(jobs_channel('jobs_signal'), format('%s %s %s %s',
            coalesce(picked.listening_key, 0), levels,
            case when run_at >= '1970-01-01 00:00:00+00'
                and run_at < '9999-12-31 00:00:00+00'
                then (extract(epoch from run_at) * 1000000)::bigint else 0 end, queue))
    from (select) one left join lateral (
        -- Ordered first, so that only as many locks are tried as it takes to find listening
        -- workers.
        select w.listening_key
        from (
            select w.listening_key from jobs_workers w
            where _jobs_signal.queue = any (w.queues)
                and (w.job_types is null or _jobs_signal.job_types is null
                     or w.job_types && _jobs_signal.job_types)
            order by random()
        ) w
        where _jobs_is_locked(w.listening_key)
        limit least(jobs, 16)
    ) picked on true;
end
$$;

comment on function _jobs_signal is
    'internal: tells the workers of a queue, on commit, that jobs are claimable from run_at on';

-- functions/workers/_jobs_signal_jobs.sql
-- For jobs that have just become pending, or ended: each end is given once, because it is counted
-- for the jobs that wait for it. Reads the jobs by their ids before it looks at
-- the status, because a planner without statistics may prefer an index of pending jobs, and would
-- read all of it.
create or replace function _jobs_signal_jobs(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    if exists (select from jobs_queues q where q.ends_free_places)
        or exists (select from jobs_watched w where w.job_id = any (job_ids))
        or exists (select from jobs_flow_edges e where e.parent_id = any (job_ids))
    then
        perform _jobs_free_places(job_ids), _jobs_tell_watchers(array(
            select j.id from jobs j
            where j.id = any (job_ids) and (j.finished_at is not null) is true));
        if exists (select from jobs_flow_edges e where e.parent_id = any (job_ids)) then
            perform _jobs_flow_ended(job_ids);
        end if;
    end if;
    perform _jobs_signal(n.queue, n.run_at, n.levels, n.jobs, n.job_types),
        case when n.in_groups is not null then _jobs_insert_turns(n.in_groups) end
    from (
        with named as materialized (
            select j.id, j.queue, j.group_key, j.run_at, j.priority, j.job_type, j.status
            from jobs j
            where j.id = any (job_ids)
        )
        select j.queue, min(j.run_at) as run_at, bit_or(1 << j.priority + 9) as levels,
            count(*) as jobs, array_agg(distinct j.job_type) as job_types,
            array_agg(j.id) filter (where j.group_key is not null) as in_groups
        from named j
        where j.status = 'pending'
        group by j.queue
    ) n;
end
$$;

comment on function _jobs_signal_jobs is
    'internal: signals those of these jobs that are pending, once per queue, and gives their groups'
    ' turns';

-- functions/workers/_jobs_worker_help.sql
-- A worker calls this when a claim has filled all its slots, so that due jobs may be left, and when
-- it is full. Without a listening worker there is nobody to help, and no job is looked for.
create or replace function _jobs_worker_help(worker text, floors jsonb) returns void
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_me jobs_workers;
    v_queue text;
    v_due timestamptz;
begin
    select w.* into v_me from jobs_workers w where w.worker = _jobs_worker_help.worker;
    for v_queue in
        select q.queue
        from (select distinct unnest(v_me.queues)) q(queue)
        where exists (
            select from jobs_workers w
            where w.worker <> v_me.worker and q.queue = any (w.queues)
                and (w.job_types is null or v_me.job_types is null
                     or w.job_types && v_me.job_types)
                and _jobs_is_locked(w.listening_key))
    loop
        v_due := _jobs_next_due(
            array[v_queue], v_me.job_types, floors, before => clock_timestamp());
        if v_due is not null then
            perform _jobs_signal(v_queue, v_due, jobs => 2, job_types => v_me.job_types);
        end if;
    end loop;
end
$$;

comment on function _jobs_worker_help is
    'internal: signals listening workers if due jobs are left that this worker has no slots for';

-- functions/workers/_jobs_worker_mode.sql
-- Two sessions cannot both win the last place among the pollers of a queue: each place is an
-- advisory lock that one session gets. This function never waits for a lock.
--
-- At most two workers poll a queue: two are enough to share its jobs, and each further one would
-- only send more empty claims.
create or replace function _jobs_worker_mode(worker text, mode text) returns boolean
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_me jobs_workers;
    v_key bigint;
    v_places bigint[] := '{}';
begin
    select w.* into v_me from jobs_workers w where w.worker = _jobs_worker_mode.worker;
    if not found then
        return false;
    end if;
    if mode = 'polling' then
        if _jobs_session_holds(v_me.polling_key) then
            return true;
        end if;
        for v_key in
            select case when pg_try_advisory_lock(p.first) then p.first
                        when pg_try_advisory_lock(p.second) then p.second end
            from (select _jobs_advisory_key('polling 1', q.queue),
                         _jobs_advisory_key('polling 2', q.queue)
                  from (select distinct unnest(v_me.queues)) q(queue)) p(first, second)
        loop
            v_places := v_places || v_key;
        end loop;
        if array_position(v_places, null) is not null then
            perform pg_advisory_unlock(p.place) from unnest(v_places) p(place)
            where p.place is not null;
            return false;
        end if;
        perform pg_advisory_lock(v_me.polling_key);
        -- From now on producers are silent, so the other workers have to look by themselves.
        perform pg_notify(jobs_channel('jobs_signal'), 'polling ' || q.queue)
        from unnest(v_me.queues) q(queue)
        where pg_notification_queue_usage() < 0.5;
    elsif _jobs_session_holds(v_me.polling_key) then
        perform pg_advisory_unlock(v_me.polling_key);
        perform pg_advisory_unlock(p.place)
        from unnest(v_me.queues) q(queue)
        cross join lateral (values (_jobs_advisory_key('polling 1', q.queue)),
                                   (_jobs_advisory_key('polling 2', q.queue))) p(place)
        where _jobs_session_holds(p.place);
    end if;
    if mode = 'listening' and not _jobs_session_holds(v_me.listening_key) then
        perform pg_advisory_lock(v_me.listening_key);
    elsif mode <> 'listening' and _jobs_session_holds(v_me.listening_key) then
        perform pg_advisory_unlock(v_me.listening_key);
    end if;
    return true;
end
$$;

comment on function _jobs_worker_mode is
    'internal: changes to mode listening, polling or full; false: two workers poll already';

-- functions/workers/_jobs_worker_modes.sql
create or replace function _jobs_worker_modes()
returns table (worker text, mode text, unseen interval, hangs boolean)
language sql volatile
set search_path from current
as $$
with held as materialized (
    select l.classid::bigint << 32 | l.objid::bigint as key
    from pg_locks l
    where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and l.mode = 'ExclusiveLock'
        and l.database = (select d.oid from pg_database d where d.datname = current_database())
)
select m.worker, m.mode, m.unseen, m.mode <> 'gone' and m.unseen > '30 seconds'
from (
    select w.worker, clock_timestamp() - coalesce(t.seen_at, w.started_at) as unseen, case
        when not exists (select from held h where h.key = w.name_key) then 'gone'
        when exists (select from held h where h.key = w.polling_key) then 'polling'
        when exists (select from held h where h.key = w.listening_key) then 'listening'
        else 'full' end as mode
    from jobs_workers w
    left join jobs_worker_ticks t on t.worker = w.worker
) m
$$;

comment on function _jobs_worker_modes is
    'internal: the mode of each registered worker: listening, polling or full; gone: no session; and'
    ' since when it was not seen';

-- functions/workers/_jobs_worker_tick.sql
-- A worker ticks every 10 s. A full tick sets seen_at, takes back jobs whose lease is over, ends
-- jobs that have not begun by their expires_at, ends watches that are over, counts flows, adds
-- up the ends of attempts, and looks for due jobs without floors. While other workers work, the worker
-- also ticks every 2 s, not fully: such a tick only notices deaths, and workers whose heartbeats have
-- just failed to come; else it reads no index of finished jobs. Any tick tests the connection.
--
-- queues: of the worker's, those in which a full tick looks for due jobs; null: all.
--
-- fires_at: when the next schedule is due; the caller fires it at that moment.
--
-- deletes: whether a rule of retention is due, so that the caller enforces it; null: there is no
-- rule, or the tick is not full.
--
-- opens_at: when a paused queue of the worker opens by itself. The caller ticks fully at that
-- moment, because looks have gone past the jobs of the queue.
--
-- A suspect that waits for a worker without one is reported as due, because no signal is sent when
-- a worker may take its next suspect.
create or replace function _jobs_worker_tick(
    worker text,
    is_full boolean default true,
    queues text[] default null
) returns table (
    others_work boolean,
    may_be_silent boolean,
    due timestamptz,
    more boolean,
    recovered jsonb,
    fires_at timestamptz,
    deletes boolean,
    opens_at timestamptz,
    ticked_at timestamptz
)
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
#variable_conflict use_column
declare
    c_max_jobs constant int := 1000;
    c_max_flows constant int := 100;
    c_max_bytes constant int := 300000;
    v_me jobs_workers;
    v_gone text[];
begin
    select w.* into v_me from jobs_workers w where w.worker = _jobs_worker_tick.worker;
    if not found or not _jobs_session_holds(v_me.name_key) then
        return;
    end if;
    if is_full then
        update jobs_worker_ticks t set seen_at = clock_timestamp(), missed_at = null
        where t.worker = v_me.worker;
        perform _jobs_flag_groups(v_me.queues);
        perform _jobs_lower_turns_from(v_me.queues);
        delete from jobs_starts s
        where s.ctid = any (array(
            select o.ctid from jobs_starts o
            where o.counts_until < clock_timestamp()
            limit c_max_jobs
            for update skip locked));
    end if;
    v_gone := _jobs_workers_gone();
    if is_full or v_gone <> '{}' or exists (
        select from jobs_worker_ticks t
        where t.worker <> v_me.worker
            and t.leases_until < clock_timestamp()
            and t.leases_until > clock_timestamp() - interval '6 seconds')
    then
        recovered := _jobs_recover_told(
            v_gone, sparing => v_me.worker, max_jobs => c_max_jobs);
    end if;
    more := coalesce(
        (select sum((r.lost ->> 'jobs')::bigint) from jsonb_array_elements(recovered) r(lost))
            >= c_max_jobs, false);
    if is_full then
        more := _jobs_expire(c_max_jobs) >= c_max_jobs
            or _jobs_unwatch(c_max_jobs) >= c_max_jobs
            or _jobs_audit_expire(c_max_jobs) >= c_max_jobs or more;
        more := _jobs_history_add('9 seconds', c_max_bytes) or more;
        if exists (select from jobs_flows f) then
            more := _jobs_flow_attach(c_max_jobs) >= c_max_jobs
                or _jobs_flow_resolve(c_max_jobs) >= c_max_jobs
                or _jobs_flow_tidy(c_max_flows) >= c_max_flows or more;
        end if;
    end if;
    select m.may_be_silent into may_be_silent from _jobs_may_be_silent(v_me.worker, v_me.queues) m;
    others_work := may_be_silent
        or exists (select from jobs_worker_ticks t
                   where t.worker <> v_me.worker and t.missed_at is not null)
        -- In the order of ix_jobs_status, or the planner may read all of ix_jobs_job_type.
        or is_full and (select true from jobs j
                        where j.status = 'processing' and j.worker <> v_me.worker
                        order by j.status, j.finished_at
                        limit 1) is not null;
    due := least(
        case when is_full then _jobs_next_due(
            coalesce(_jobs_worker_tick.queues, v_me.queues), v_me.job_types,
            before => clock_timestamp()) end,
        -- In the order of ix_jobs_crashed: planned on an empty table, all indexes of pending jobs
        -- cost the same.
        (select min(c.run_at)
         from (select j.run_at from jobs j
               where j.status = 'pending' and j.crash_count > 0 and j.queue = any (v_me.queues)
                   and (v_me.job_types is null or j.job_type = any (v_me.job_types))
               order by j.queue, j.priority, j.run_at, j.id) c));
    due := case when due <= clock_timestamp() then due end;
    fires_at := _jobs_schedule_due();
    if is_full then
        select (select bool_or(r.next_at <= clock_timestamp()) from jobs_retention r),
            (select min(q.paused_until) from jobs_queues q
             where q.queue = any (v_me.queues) and q.paused_at is not null
                 and q.paused_until > clock_timestamp())
        into deletes, opens_at;
    end if;
    ticked_at := clock_timestamp();
    return next;
end
$$;

comment on function _jobs_worker_tick is
    'internal: recovers and looks for due jobs; due: the least run_at; more: tick again at once';

-- functions/workers/_jobs_worker_watch.sql
-- Finds jobs that silent producers have added and no polling worker has claimed, because it hangs,
-- is full, has stopped or has gone past them. While producers may be silent each worker watches
-- every 0.15 s.
--
-- seen: what the last call returned. It holds the times of that call and of the call before, and
-- the transactions that the last call saw in progress, each with a time before which it had not
-- begun to write. A silent job's run_at is at most 0.2 s older than its insertion (_jobs_notify).
-- So due jobs are looked for from the earliest such time of the transactions that have ended since
-- the last call, less 0.2 s. Without `seen` they are looked for without a bound.
--
-- A snapshot does not show a transaction in progress that is younger than all that have ended. So
-- each call takes a transaction number itself. The next call's snapshot shows all older ones in
-- progress, so one that it does not show began to write after this call, hence the two times: what
-- the last call did not see in progress began to write after the call before.
--
-- The order matters: first is read whether producers may be silent, then the transactions, then the
-- jobs. Where no producer may be silent any more, this last look finds what they have added.
create or replace function _jobs_worker_watch(
    worker text,
    floors jsonb,
    seen jsonb default null
) returns table (may_be_silent boolean, others_poll boolean, due timestamptz, seen_now jsonb)
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    c_tolerance constant interval := '0.2 seconds';
    v_me jobs_workers;
    v_now timestamptz;
    v_before_last timestamptz := coalesce((seen ->> 'before')::timestamptz, '-infinity');
    v_snapshot pg_snapshot;
    v_since timestamptz;
begin
    select w.* into v_me from jobs_workers w where w.worker = _jobs_worker_watch.worker;
    if not found then
        return;
    end if;
    select m.may_be_silent, m.others_poll into may_be_silent, others_poll
    from _jobs_may_be_silent(v_me.worker, v_me.queues) m;
    v_now := clock_timestamp();
    perform pg_current_xact_id();
    v_snapshot := pg_current_snapshot();
    select least(v_before_last, min(o.value::timestamptz)) - c_tolerance into v_since
    from jsonb_each_text(seen -> 'open') o
    where pg_visible_in_snapshot(o.key::xid8, v_snapshot);
    seen_now := jsonb_build_object(
        'at', v_now,
        'before', coalesce((seen ->> 'at')::timestamptz, '-infinity'),
        'open', coalesce((
            select jsonb_object_agg(x.xid::text, coalesce(
                (seen -> 'open' ->> x.xid::text)::timestamptz, v_before_last))
            from pg_snapshot_xip(v_snapshot) x(xid)), '{}'));
    due := _jobs_next_due(
        v_me.queues, v_me.job_types, floors, v_since, before => clock_timestamp());
    return next;
end
$$;

comment on function _jobs_worker_watch is
    'internal: whether producers may be silent, and the least run_at of due jobs that they may'
    ' have added';

-- functions/workers/_jobs_workers_gone.sql
-- A living worker's session holds the advisory lock of the worker's name. A lock that is found free
-- once may belong to a connection that was cut and is being replaced. A lock that is found free
-- twice, at least 2 s apart, means that the worker is dead
-- (docs/decisions/0008-death-by-session.md). This function never waits for such a lock, because a
-- session that waits for an advisory lock holds back vacuum everywhere. It updates in the
-- order of names, so that two calls of it do not deadlock.
create or replace function _jobs_workers_gone() returns text[]
language plpgsql volatile
set search_path from current
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_worker record;
    v_gone text[] := '{}';
begin
    for v_worker in
        select w.worker, w.name_key, t.missed_at, t.worker is null as unseen
        from jobs_workers w left join jobs_worker_ticks t on t.worker = w.worker
        where not _jobs_is_locked(w.name_key)
        order by w.worker
    loop
        continue when _jobs_session_holds(v_worker.name_key);
        if v_worker.unseen then
            insert into jobs_worker_ticks as t (worker, missed_at) values (v_worker.worker, v_now)
            on conflict do nothing;
        elsif v_worker.missed_at is null then
            -- A session that has locked the row is at a tick, or marks the worker itself.
            update jobs_worker_ticks t set missed_at = v_now
            where t.worker = any (array(
                select m.worker from jobs_worker_ticks m
                where m.worker = v_worker.worker and m.missed_at is null
                for no key update skip locked));
        elsif v_worker.missed_at <= v_now - interval '2 seconds' then
            v_gone := v_gone || v_worker.worker;
        end if;
    end loop;
    return v_gone;
end
$$;

comment on function _jobs_workers_gone is
    'internal: sets missed_at; returns workers found gone twice, at least 2 s apart';

-- functions/flows: who waits for other jobs, and batches
-- functions/flows/jobs_batch.sql
-- A batch is a job that waits for the batch's members: its callback. The arguments are those of
-- jobs_enqueue.
create or replace function jobs_batch(
    job_type text,
    payload jsonb default '{}',
    queue text default 'default',
    priority int default 0,
    run_at timestamptz default null,
    reference_type text default null,
    reference_id bigint default null,
    max_retries int default 3,
    unique_key text default null,
    unique_scope text default 'live',
    backoff interval[] default null,
    reference_key text default null,
    group_key text default null,
    headers jsonb default null,
    expires_at timestamptz default null,
    depends_on bigint[] default null,
    on_parent_failed text default 'run',
    batch_id bigint default null,
    on_conflict text default 'return',
    unique_for interval default null,
    max_wait interval default null
) returns setof jobs
language sql volatile security definer rows 1
set search_path from current
as $$
select e.* from _jobs_enqueue_bound(
    job_type, payload, queue, priority, run_at, reference_type, reference_id, max_retries,
    unique_key, unique_scope, backoff, reference_key, group_key, headers, expires_at, depends_on,
    coalesce(on_parent_failed, 'run'), batch_id, on_conflict, unique_for, max_wait,
    is_batch => true) e
$$;

comment on function jobs_batch is
    'adds the callback of a batch, blocked, and returns it; members name its id as batch_id';

-- functions/flows/jobs_batch_close.sql
-- Two sessions cannot both win: the second waits for the row's lock, then finds the batch closed,
-- which is no error.
create or replace function jobs_batch_close(batch_id bigint) returns setof jobs
language plpgsql volatile security definer rows 1
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_is_open boolean;
    v_job jobs;
begin
    if jobs_batch_close.batch_id is null then
        raise exception using errcode = 'JQ003', message = 'batch_id is missing';
    end if;
    select f.is_open into v_is_open
    from jobs_flows f
    where f.job_id = jobs_batch_close.batch_id and f.is_batch;
    if not found then
        raise exception using errcode = 'JQ001',
            message = format('there is no batch %s', jobs_batch_close.batch_id),
            hint = 'A batch is made by jobs_batch; its id is that of its callback.';
    end if;
    -- No lock on the row of a batch that is closed already: others may be about to delete it.
    if v_is_open then
        update jobs_flows f
        set is_open = false
        where f.job_id = jobs_batch_close.batch_id and f.is_open;
        -- Without any change since, nobody would look at the batch. An empty batch has none.
        insert into jobs_flow_changes (child_id) values (jobs_batch_close.batch_id);
        perform _jobs_flow_tell();
    end if;
    select j.* into v_job from jobs j where j.id = jobs_batch_close.batch_id;
    -- A producer that may not read jobs could otherwise read callbacks by guessing ids.
    if not _jobs_may_read() then
        v_job.payload := null;
        v_job.result := null;
        v_job.error := null;
        v_job.headers := null;
        v_job.progress := null;
        v_job.unique_key := null;
    end if;
    return next v_job;
end
$$;

comment on function jobs_batch_close is
    'no more members from outside: the callback runs when all members have ended';

-- functions/flows/jobs_parents.sql
create or replace function jobs_parents(job_id bigint)
returns setof jobs_parent
language plpgsql stable security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
begin
    perform _jobs_find(jobs_parents.job_id);
    return query
    select p.id, p.job_type, p.status, p.result, p.error
    from jobs_flow_edges e
    cross join lateral (select * from jobs p where p.id = e.parent_id offset 0) p
    where e.child_id = jobs_parents.job_id
    order by p.id;
end
$$;

comment on function jobs_parents is
    'what a job waits or has waited for, the members of a batch too: status, result and error';

-- functions/flows/_jobs_check_flow.sql
create or replace function _jobs_check_flow(
    depends_on bigint[],
    on_parent_failed text,
    on_conflict text
) returns void
language plpgsql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_missing bigint;
begin
    if on_parent_failed not in ('cancel', 'run', 'wait', 'only') then
        raise exception using errcode = 'JQ003',
            message = format('on_parent_failed must be cancel, run, wait or only, not %s',
                             left(on_parent_failed, 40));
    end if;
    if array_ndims(depends_on) > 1 or array_position(depends_on, null) is not null then
        raise exception using errcode = 'JQ003',
            message = 'depends_on must be a plain list of job ids without nulls';
    end if;
    if on_conflict in ('replace', 'debounce') then
        raise exception using errcode = 'JQ003',
            message = format('on_conflict %s is not for jobs with depends_on or batch_id: a job that '
                             'is replaced keeps the parents that it has', on_conflict),
            hint = 'Cancel the job that waits, then enqueue.';
    end if;
    select min(d.id) into v_missing
    from unnest(depends_on) d(id)
    where not exists (select from jobs j where j.id = d.id);
    if v_missing is not null then
        raise exception using errcode = 'JQ001',
            message = format('there is no job %s, which depends_on names', v_missing);
    end if;
end
$$;

comment on function _jobs_check_flow is
    'internal: raises if what a new job says about its parents or its batch is invalid';

-- functions/flows/_jobs_check_refs.sql
-- A ref is a name within one call. depends_on refers to objects before, so there are no circles.
create or replace function _jobs_check_refs(jobs jsonb) returns void
language plpgsql immutable
set search_path from current
as $$
declare
    v_problem text;
begin
    with unpacked as materialized (
        select u.* from _jobs_unpack_flow(jobs) u
    ), named as (
        select u.ref, min(u.place) as place, max(u.place) as last_place
        from unpacked u
        where u.ref is not null
        group by u.ref
    )
    select format('jobs[%s]: %s', p.place - 1, p.problem) into v_problem
    from (
        select u.place, 'ref must have 1 to 512 bytes' as problem from unpacked u
        where octet_length(u.ref) not between 1 and 512
        union all
        select n.last_place, format('an object before has the ref %s', left(n.ref, 100))
        from named n
        where n.place < n.last_place
        union all
        select u.place, format('depends_on names the ref %s, and no object before has that ref',
                               left(r.ref, 100))
        from unpacked u
        cross join lateral unnest(u.refs) r(ref)
        left join named n on n.ref = r.ref and n.place < u.place
        where n.ref is null
    ) p
    order by p.place
    limit 1;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
end
$$;

comment on function _jobs_check_refs is
    'internal: raises if the refs of a batch of jobs are not right';

-- functions/flows/_jobs_enqueue_bound.sql
-- jobs_enqueue of a job that waits for others, is a member of a batch, or is a batch's callback. A
-- function of its own, so that a plain job pays for none of this.
--
-- Two sessions with one unique_key cannot both win, as in jobs_enqueue.
create or replace function _jobs_enqueue_bound(
    job_type text,
    payload jsonb,
    queue text,
    priority int,
    run_at timestamptz,
    reference_type text,
    reference_id bigint,
    max_retries int,
    unique_key text,
    unique_scope text,
    backoff interval[],
    reference_key text,
    group_key text,
    headers jsonb,
    expires_at timestamptz,
    depends_on bigint[],
    on_parent_failed text,
    batch_id bigint,
    on_conflict text,
    unique_for interval,
    max_wait interval,
    is_batch boolean default false
) returns setof jobs
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
declare
    v_parents bigint[] := array(
        select distinct d.id from unnest(_jobs_enqueue_bound.depends_on) d(id));
    v_waits boolean := is_batch or v_parents <> '{}';
    v_job jobs;
begin
    perform _jobs_check_job(
            _jobs_enqueue_bound.job_type, _jobs_enqueue_bound.queue, _jobs_enqueue_bound.priority,
            _jobs_enqueue_bound.run_at, _jobs_enqueue_bound.reference_type,
            _jobs_enqueue_bound.max_retries, _jobs_enqueue_bound.unique_key,
            _jobs_enqueue_bound.unique_scope, _jobs_enqueue_bound.backoff,
            _jobs_enqueue_bound.reference_key, _jobs_enqueue_bound.group_key,
            _jobs_enqueue_bound.headers, _jobs_enqueue_bound.expires_at),
        _jobs_check_unique(
            _jobs_enqueue_bound.unique_key, _jobs_enqueue_bound.unique_scope,
            _jobs_enqueue_bound.on_conflict, _jobs_enqueue_bound.unique_for,
            _jobs_enqueue_bound.max_wait),
        _jobs_check_flow(
            _jobs_enqueue_bound.depends_on, _jobs_enqueue_bound.on_parent_failed,
            _jobs_enqueue_bound.on_conflict);
    if _jobs_enqueue_bound.batch_id is not null then
        perform _jobs_flow_join(array[_jobs_enqueue_bound.batch_id], v_parents);
    end if;
    for v_try in 1..100 loop
        insert into jobs as j (
            job_type, payload, queue, priority, run_at, reference_type, reference_id, max_retries,
            unique_key, unique_scope, backoff, reference_key, group_key, headers, expires_at,
            unique_until, batch_id, status, depends_on_left)
        values (
            _jobs_enqueue_bound.job_type, coalesce(_jobs_enqueue_bound.payload, '{}'),
            coalesce(_jobs_enqueue_bound.queue, 'default'),
            coalesce(_jobs_enqueue_bound.priority, 0),
            coalesce(_jobs_enqueue_bound.run_at, clock_timestamp()),
            _jobs_enqueue_bound.reference_type, _jobs_enqueue_bound.reference_id,
            coalesce(_jobs_enqueue_bound.max_retries, 3), _jobs_enqueue_bound.unique_key,
            coalesce(_jobs_enqueue_bound.unique_scope, 'live'), _jobs_enqueue_bound.backoff,
            _jobs_enqueue_bound.reference_key, _jobs_enqueue_bound.group_key,
            _jobs_enqueue_bound.headers, _jobs_enqueue_bound.expires_at,
            _jobs_after(clock_timestamp(), _jobs_enqueue_bound.unique_for),
            _jobs_enqueue_bound.batch_id, case when v_waits then 'blocked' else 'pending' end,
            case when v_waits then cardinality(v_parents) end)
        on conflict do nothing
        returning j.* into v_job;
        exit when found;
        return query
        select c.* from _jobs_on_conflict(
            _jobs_enqueue_bound.job_type, _jobs_enqueue_bound.payload, _jobs_enqueue_bound.queue,
            _jobs_enqueue_bound.priority, _jobs_enqueue_bound.run_at,
            _jobs_enqueue_bound.reference_type, _jobs_enqueue_bound.reference_id,
            _jobs_enqueue_bound.max_retries, _jobs_enqueue_bound.unique_key,
            _jobs_enqueue_bound.backoff, _jobs_enqueue_bound.reference_key,
            _jobs_enqueue_bound.group_key, _jobs_enqueue_bound.headers,
            _jobs_enqueue_bound.expires_at, _jobs_enqueue_bound.on_conflict,
            _jobs_enqueue_bound.max_wait) c;
        if found then
            return;
        end if;
    end loop;
    if v_job.id is null then
        raise exception using errcode = 'JQ004',
            message = format('a unique index or a trigger of the table jobs that pgjobs did not make '
                'refuses the job of type %s%s', _jobs_enqueue_bound.job_type,
                format(', or its unique_key %L changed hands too often: then try again',
                       _jobs_enqueue_bound.unique_key));
    end if;
    if v_waits then
        insert into jobs_flows (job_id, on_parent_failed, is_batch, is_open, parents)
        values (
            v_job.id,
            coalesce(_jobs_enqueue_bound.on_parent_failed,
                     case when is_batch then 'run' else 'cancel' end),
            is_batch, is_batch, cardinality(v_parents));
    end if;
    insert into jobs_flow_edges (parent_id, child_id, is_attached)
    select p.id, v_job.id, false from unnest(v_parents) p(id);
    if v_job.batch_id is not null then
        insert into jobs_flow_edges (parent_id, child_id, is_attached)
        values (v_job.id, v_job.batch_id, true);
        insert into jobs_flow_changes (child_id, parents) values (v_job.batch_id, 1);
    end if;
    -- A new member alone changes nothing for its callback but the number of members.
    if v_parents <> '{}' then
        perform _jobs_flow_tell(is_end => false);
    end if;
    return next v_job;
end
$$;

comment on function _jobs_enqueue_bound is
    'internal: jobs_enqueue of a job that waits for others or belongs to a batch';

-- functions/flows/_jobs_enqueue_flow.sql
-- Adds all jobs of a batch or none, where some name parents, a batch or a ref. Without unique keys
-- they go by one insert, however many they are. Else they go one by one, in their order, because
-- their parents must be there before them: two such calls that take the same keys in another order
-- may deadlock, and PostgreSQL then ends one of the two.
--
-- A parent of the same call cannot end before the commit, so its edge is attached at once.
create or replace function _jobs_enqueue_flow(jobs jsonb) returns setof jobs
language plpgsql volatile
set search_path from current
set jit = off
as $$
#variable_conflict use_column
declare
    v_item record;
    v_id_of jsonb := '{}';
    v_batches bigint[];
    v_depends_on bigint[];
    v_job jobs;
begin
    perform _jobs_check_refs(_jobs_enqueue_flow.jobs);
    if jsonb_path_exists(
        _jobs_enqueue_flow.jobs, '$[*] ? (exists(@.unique_key.type() ? (@ != "null"))
            || exists(@.on_conflict.type() ? (@ != "null"))
            || exists(@.unique_for.type() ? (@ != "null"))
            || exists(@.max_wait.type() ? (@ != "null")))')
    then
        for v_item in
            select u.*, f.depends_on, f.refs, f.on_parent_failed, f.batch_id, f.ref
            from _jobs_unpack(_jobs_enqueue_flow.jobs, false) u
            join _jobs_unpack_flow(_jobs_enqueue_flow.jobs) f on f.place = u.place
            order by u.place
        loop
            select e.* into v_job
            from jobs_enqueue(
                v_item.job_type, v_item.payload, v_item.queue, v_item.priority, v_item.run_at,
                v_item.reference_type, v_item.reference_id, v_item.max_retries, v_item.unique_key,
                v_item.unique_scope, v_item.backoff, v_item.reference_key, v_item.group_key,
                v_item.headers, v_item.expires_at,
                v_item.depends_on
                    || array(select (v_id_of ->> r.ref)::bigint from unnest(v_item.refs) r(ref)),
                coalesce(v_item.on_parent_failed, 'cancel'), v_item.batch_id, v_item.on_conflict,
                v_item.unique_for, v_item.max_wait) e;
            if v_item.ref is not null then
                v_id_of := v_id_of || jsonb_build_object(v_item.ref, v_job.id);
            end if;
            return next v_job;
        end loop;
        return;
    end if;

    perform _jobs_check_flow(f.depends_on, f.on_parent_failed, null)
    from _jobs_unpack_flow(_jobs_enqueue_flow.jobs) f
    where f.depends_on <> '{}' or f.on_parent_failed is not null;
    select array_agg(distinct f.batch_id) into v_batches
    from _jobs_unpack_flow(_jobs_enqueue_flow.jobs) f
    where f.batch_id is not null;
    if v_batches is not null then
        v_depends_on := array(
            select distinct d.id
            from _jobs_unpack_flow(_jobs_enqueue_flow.jobs) f
            cross join lateral unnest(f.depends_on) d(id)
            -- By refs a member may wait for jobs that are no members.
            where f.batch_id is not null or exists (
                select from _jobs_unpack_flow(_jobs_enqueue_flow.jobs) r
                where r.batch_id is not null and r.refs <> '{}'));
        perform _jobs_flow_join(v_batches, v_depends_on);
    end if;
    return query
    with unpacked as materialized (
        select u.*, f.depends_on, f.refs, f.on_parent_failed, f.batch_id, f.ref,
            cardinality(f.depends_on) + cardinality(f.refs) as parents
        from _jobs_unpack(_jobs_enqueue_flow.jobs, false) u
        join _jobs_unpack_flow(_jobs_enqueue_flow.jobs) f on f.place = u.place
    ), added as (
        insert into jobs as j (
            job_type, payload, queue, priority, run_at, reference_type, reference_id, max_retries,
            unique_scope, backoff, reference_key, group_key, headers, expires_at, batch_id, status,
            depends_on_left)
        select i.job_type, coalesce(i.payload, '{}'), coalesce(i.queue, 'default'),
            coalesce(i.priority, 0), coalesce(i.run_at, clock_timestamp()), i.reference_type,
            i.reference_id, coalesce(i.max_retries, 3), coalesce(i.unique_scope, 'live'),
            i.backoff, i.reference_key, i.group_key, i.headers, i.expires_at, i.batch_id,
            case when i.parents > 0 then 'blocked' else 'pending' end, nullif(i.parents, 0)
        from unpacked i
        order by i.place
        returning j.*
    ), placed as materialized (
        -- The ids ascend in the order of the objects.
        select u.*, a.id
        from unpacked u
        join (select a.id, row_number() over (order by a.id) as place from added a) a
            on a.place = u.place
    ), flow as (
        insert into jobs_flows (job_id, on_parent_failed, is_batch, is_open, parents)
        select p.id, coalesce(p.on_parent_failed, 'cancel'), false, false, p.parents
        from placed p
        where p.parents > 0
    ), edge as (
        insert into jobs_flow_edges (parent_id, child_id, is_attached)
        select d.id, p.id, false from placed p cross join lateral unnest(p.depends_on) d(id)
        union all
        select named.id, p.id, true
        from placed p
        cross join lateral unnest(p.refs) r(ref)
        join placed named on named.ref = r.ref
        union all
        select p.id, p.batch_id, true from placed p where p.batch_id is not null
    ), member as (
        insert into jobs_flow_changes (child_id, parents)
        select p.batch_id, count(*) from placed p where p.batch_id is not null group by p.batch_id
    )
    select a.* from added a order by a.id;
    if exists (select from _jobs_unpack_flow(_jobs_enqueue_flow.jobs) f where f.depends_on <> '{}')
    then
        perform _jobs_flow_tell(is_end => false);
    end if;
end
$$;

comment on function _jobs_enqueue_flow is
    'internal: adds jobs that name parents, batches or refs, and returns their rows in order';

-- functions/flows/_jobs_flow_attach.sql
-- Attaches edges whose parents were committed before the edges were. A parent is locked for the
-- moment of this statement's transaction, so the caller calls this by itself. Two cases:
-- The parent has ended: its end is counted here. Else whoever ends the parent gets the row's lock
-- after this commit, looks for edges in a later statement, and finds this edge attached.
--
-- Two sessions cannot both count an edge: each locks the edge first, and skips locked edges. A
-- parent that another session has locked may be ending: its edges wait for the next call.
--
-- A claim passes over a pending job that is locked here. So such jobs are signalled.
create or replace function _jobs_flow_attach(max_edges int) returns bigint
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $$
declare
    c_max_rounds constant int := 10;
    v_edges tid[];
    v_parents bigint[];
    v_locked bigint[];
    v_pending bigint[];
    v_attached bigint := 0;
    v_after bigint := -9223372036854775808;
begin
    -- Further edges, if the parents of all these are locked.
    for v_round in 1..c_max_rounds loop
        select array_agg(l.ctid), array_agg(distinct l.parent_id), max(l.child_id)
        into v_edges, v_parents, v_after
        from (
            select e.ctid, e.parent_id, e.child_id from jobs_flow_edges e
            where not e.is_attached and e.child_id > v_after
            order by e.child_id, e.parent_id
            limit max_edges
            for update skip locked
        ) l;
        exit when v_edges is null;
        with locked as materialized (
            select j.id, j.status from jobs j where j.id = any (v_parents)
            for share skip locked
        )
        select array_agg(l.id), array_agg(l.id) filter (where l.status = 'pending')
        into v_locked, v_pending
        from locked l;
        v_parents := v_locked || array(
            select p.id from unnest(v_parents) p(id)
            where not exists (select from jobs j where j.id = p.id));
        with attached as (
            update jobs_flow_edges e
            set is_attached = true
            where e.ctid = any (v_edges) and e.parent_id = any (v_parents)
            returning e.parent_id, e.child_id
        ), ended as (
            -- A parent without a row was deleted by hand.
            insert into jobs_flow_changes (child_id, completed, failed, cancelled, kept, culprit)
            select a.child_id, count(*) filter (where p.status = 'completed'),
                count(*) filter (where p.status = 'failed'),
                count(*) filter (where p.status = 'cancelled' or p.id is null),
                count(*) filter (where p.marks & 1 = 1),
                min(a.parent_id) filter (where p.status is distinct from 'completed')
            from attached a
            left join jobs p on p.id = a.parent_id
            where p.id is null or (p.finished_at is not null) is true
            group by a.child_id
        )
        select count(*) into v_attached from attached a;
        if v_pending is not null then
            perform _jobs_signal_jobs(v_pending);
        end if;
        exit when v_attached > 0;
    end loop;
    return v_attached;
end
$$;

comment on function _jobs_flow_attach is
    'internal: has up to max_edges new edges counted by the ends of their parents; returns how many';

-- functions/flows/_jobs_flow_cancel.sql
-- Two sessions cannot both win: the rows are locked before their status is read, the job's own with
-- them, in the order of the ids. So two that cancel downstream never deadlock.
create or replace function _jobs_flow_cancel(job_id bigint, reason text) returns bigint
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_below bigint[];
    v_blocked bigint[];
begin
    with recursive below (id) as (
        select _jobs_flow_cancel.job_id
        union
        select e.child_id
        from below b
        cross join lateral (
            select e.child_id from jobs_flow_edges e where e.parent_id = b.id offset 0) e
    )
    select array_agg(b.id) into v_below from below b;
    perform from jobs j where j.id = any (v_below) order by j.id for no key update;
    v_blocked := array(
        select j.id from jobs j
        where j.id = any (v_below) and (j.status = 'blocked') is true
            and j.id <> _jobs_flow_cancel.job_id);
    update jobs j
    set status = 'cancelled',
        error = coalesce(reason, format('job %s, which it waited for, was cancelled',
                                        _jobs_flow_cancel.job_id)),
        updated_at = clock_timestamp(),
        finished_at = clock_timestamp()
    where j.id = any (v_blocked);
    perform _jobs_signal_jobs(v_blocked), _jobs_count_ends(v_blocked);
    return cardinality(v_blocked);
end
$$;

comment on function _jobs_flow_cancel is
    'internal: locks a job and all that wait for it, directly or not, and cancels those that wait;'
    ' returns how many';

-- functions/flows/_jobs_flow_count.sql
-- One round of _jobs_flow_resolve. is_cascading: it has cancelled jobs, which others may wait for.
--
-- Two sessions cannot both count a change: whoever has the child's lock reads and deletes the
-- changes of the child, in a later statement than the lock. Children that another session has locked
-- are skipped, so nothing waits and nothing deadlocks.
--
-- The counts say when to look at the parents, and the parents themselves decide: a job is let go
-- only after its parents' rows were read. There look-ups are nested, so that a planner without
-- statistics cannot start from all jobs.
create or replace function _jobs_flow_count(max_children int)
returns table (counted bigint, is_cascading boolean)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    -- Other sessions may have locked the first ones.
    c_look_beyond constant int := 10;
    v_now constant timestamptz := clock_timestamp();
    v_children bigint[];
    v_gone bigint[];
    v_culprits bigint[];
    v_culprits_of bigint[];
    v_blocked bigint[];
    v_to_come int[];
    v_given_up bigint[];
    v_ready bigint[];
    v_unhurt bigint[];
    v_cleared bigint[] := '{}';
    v_closed bigint[] := '{}';
    v_busy bigint[] := '{}';
begin
    -- One probe for each job that has changes, however many it has.
    with recursive changed (id) as (
        select min(c.child_id) from jobs_flow_changes c
        union all
        select (select min(c.child_id) from jobs_flow_changes c where c.child_id > n.id)
        from changed n
        where n.id is not null
    )
    select array(select n.id from changed n where n.id is not null
                 limit max_children * c_look_beyond)
    into v_children;
    if v_children = '{}' then
        return query values (0::bigint, false);
        return;
    end if;
    -- Of jobs without rows, which were deleted by hand, the changes go too.
    v_gone := array(
        select n.id from unnest(v_children) n(id)
        where (select true from jobs j where j.id = n.id) is null
            or (select true from jobs_flows f where f.job_id = n.id) is null);
    with locked as materialized (
        select j.id, j.status from jobs j
        where j.id = any (v_children)
        limit max_children
        for no key update skip locked
    )
    select array_agg(l.id), array_agg(l.id) filter (where l.status = 'blocked')
    into v_children, v_blocked
    from locked l;
    -- A transaction that has closed the batch may be open.
    v_children := array(
        select f.job_id from jobs_flows f
        where f.job_id = any (v_children)
        for no key update skip locked);
    with counted as (
        delete from jobs_flow_changes c
        where c.child_id = any (v_children || v_gone)
        returning c.*
    ), summed as materialized (
        select c.child_id, sum(c.parents) as parents, sum(c.completed) as completed,
            sum(c.failed) as failed, sum(c.cancelled) as cancelled, sum(c.kept) as kept,
            min(c.culprit) as culprit
        from counted c
        group by c.child_id
    ), added as (
        update jobs_flows f
        set parents = f.parents + s.parents,
            completed = f.completed + s.completed,
            failed = f.failed + s.failed,
            cancelled = f.cancelled + s.cancelled,
            keeps_parents = f.keeps_parents or s.kept > 0
        from summed s
        where f.job_id = s.child_id
    )
    select array_agg(s.child_id order by s.child_id), array_agg(s.culprit order by s.child_id)
    into v_culprits_of, v_culprits
    from summed s
    where s.culprit is not null;

    -- In the order of the ids, for width_bucket.
    select coalesce(array_agg(f.job_id order by f.job_id), '{}'),
        array_agg(greatest(f.to_come, 0) order by f.job_id),
        coalesce(array_agg(f.job_id) filter (where f.is_given_up), '{}'),
        coalesce(array_agg(f.job_id) filter (where f.is_ready and not f.is_given_up), '{}'),
        coalesce(array_agg(f.job_id) filter (where f.is_given_up and f.bad = 0), '{}')
    into v_blocked, v_to_come, v_given_up, v_ready, v_unhurt
    from (
        select f.job_id, f.to_come, f.bad,
            f.on_parent_failed = 'cancel' and f.bad > 0
                or f.on_parent_failed = 'only' and not f.is_open and f.to_come <= 0
                    and f.bad = 0 as is_given_up,
            not f.is_open and f.to_come <= 0 as is_ready
        from (
            select f.*, f.failed + f.cancelled as bad, f.parents - f.completed - case
                when f.on_parent_failed = 'wait' then 0 else f.failed + f.cancelled end as to_come
            from jobs_flows f
            where f.job_id = any (v_blocked) and f.job_id = any (v_children)
        ) f
    ) f;
    if v_ready <> '{}' then
        -- A session that adds members has a lock on the flow. Its commit decides.
        v_closed := array(
            select f.job_id from jobs_flows f
            where f.job_id = any (v_ready)
            for update skip locked);
        v_cleared := array(
            select f.job_id from jobs_flows f
            where f.job_id = any (v_closed)
                and (
                    select true from jobs_flow_edges e
                    where e.child_id = f.job_id and (
                        select not e.is_attached or (p.finished_at is not null) is false
                            or f.on_parent_failed = 'wait' and p.status <> 'completed'
                        from jobs p
                        where p.id = e.parent_id)
                    limit 1) is null
                and (
                    select true from jobs_flow_changes c where c.child_id = f.job_id
                    limit 1) is null);
        perform _jobs_flow_recount(r.id) from unnest(v_closed) r(id) where r.id <> all (v_cleared);
        -- Looked at again by the next tick, if the session that adds members gives up.
        v_busy := array(select r.id from unnest(v_ready) r(id) where r.id <> all (v_closed));
        insert into jobs_flow_changes (child_id) select b.id from unnest(v_busy) b(id);
    end if;

    update jobs j
    set status = 'cancelled',
        error = coalesce((
            select format('its parent, job %s, %s', c.culprit, case p.status
                when 'failed' then 'failed' when 'cancelled' then 'was cancelled'
                when 'completed' then 'had failed' else 'is gone' end)
            from (select v_culprits[array_position(v_culprits_of, j.id)] as culprit) c
            left join jobs p on p.id = c.culprit
            where c.culprit is not null),
            case when j.id = any (v_unhurt) then 'none of its parents failed'
            else 'one of its parents failed' end),
        updated_at = v_now,
        finished_at = v_now
    where j.id = any (v_given_up);
    update jobs j
    set status = case when j.id = any (v_cleared) then 'pending' else j.status end,
        depends_on_left = v_to_come[width_bucket(j.id, v_blocked)],
        run_at = case when j.id = any (v_cleared) then greatest(j.run_at, v_now) else j.run_at end,
        updated_at = v_now
    where j.id = any (v_blocked) and j.id <> all (v_given_up);
    if v_given_up <> '{}' or v_cleared <> '{}' then
        perform _jobs_signal_jobs(v_given_up || v_cleared), _jobs_count_ends(v_given_up);
    end if;
    counted := cardinality(v_children) + cardinality(v_gone) - cardinality(v_busy);
    is_cascading := v_given_up <> '{}';
    return next;
end
$$;

comment on function _jobs_flow_count is
    'internal: counts the ended parents of up to max_children jobs, and lets go who waits no more';

-- functions/flows/_jobs_flow_deleted.sql
-- For jobs of which this transaction has completed and deleted some. A child of one of those was
-- committed meanwhile. The end is counted here, and the edge goes, so that nobody else counts it.
-- Not by a join: a planner without statistics may read all jobs for it.
create or replace function _jobs_flow_deleted(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    with gone as (
        delete from jobs_flow_edges e
        where e.parent_id = any (job_ids)
            and (select true from jobs j where j.id = e.parent_id) is null
        returning e.child_id
    )
    insert into jobs_flow_changes (child_id, completed)
    select g.child_id, count(*) from gone g group by g.child_id;
    if found then
        perform _jobs_flow_tell();
    end if;
end
$$;

comment on function _jobs_flow_deleted is
    'internal: counts those of these jobs that were completed and deleted at once';

-- functions/flows/_jobs_flow_ended.sql
-- For jobs that have just ended in this transaction: their children are told of it. Called after the
-- rows of the jobs are locked, by a later statement. So an edge is either seen here, or attached by
-- a session that finds the job ended (_jobs_flow_attach). Edges that are not attached yet count
-- there, not here.
create or replace function _jobs_flow_ended(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
begin
    insert into jobs_flow_changes (child_id, completed, failed, cancelled, kept, culprit)
    select e.child_id, count(*) filter (where p.status = 'completed'),
        count(*) filter (where p.status = 'failed'), count(*) filter (where p.status = 'cancelled'),
        count(*) filter (where p.marks & 1 = 1), min(p.id) filter (where p.status <> 'completed')
    from (
        select j.id, j.status, j.marks from jobs j
        where j.id = any (job_ids) and (j.finished_at is not null) is true
        offset 0
    ) p
    cross join lateral (
        select e.child_id from jobs_flow_edges e
        where e.parent_id = p.id and e.is_attached
        offset 0
    ) e
    group by e.child_id;
    perform _jobs_flow_tell();
end
$$;

comment on function _jobs_flow_ended is
    'internal: notes the ends of these jobs for the jobs that wait for them';

-- functions/flows/_jobs_flow_join.sql
-- For who adds members to these batches. Two sessions: the callback cannot become pending between
-- this check and the commit of the new members, because _jobs_flow_resolve locks the flow `for
-- update` before that. Sessions that add members do not wait for each other, nor for the counting.
--
-- A member that depends on its own callback, or on what comes after the callback, would wait for
-- itself.
create or replace function _jobs_flow_join(batch_ids bigint[], depends_on bigint[]) returns void
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_batch bigint;
    v_status text;
    v_below bigint;
begin
    for v_batch in select distinct b.id from unnest(batch_ids) b(id) where b.id is not null order by 1
    loop
        perform from jobs_flows f where f.job_id = v_batch and f.is_batch for key share;
        if not found then
            raise exception using errcode = 'JQ001',
                message = format('there is no batch %s', v_batch),
                hint = 'A batch is made by jobs_batch; its id is that of its callback.';
        end if;
        -- After the lock: another session may have ended the batch meanwhile.
        select j.status into v_status from jobs j where j.id = v_batch;
        if v_status is distinct from 'blocked' then
            raise exception using errcode = 'JQ002',
                message = format('batch %s takes no more jobs: its callback %s', v_batch,
                                 case when _jobs_may_read()
                                 then 'is ' || coalesce(v_status, 'gone')
                                 else 'waits no more' end);
        end if;
    end loop;
    if depends_on <> '{}' then
        -- Two sessions could make a circle of two batches, if neither saw the other's member. One
        -- waits for the other's commit, and looks in a later statement. Without a parent that waits
        -- there is no circle.
        if exists (select from jobs j where j.id = any (depends_on) and (j.status = 'blocked') is true)
        then
            perform pg_advisory_xact_lock(_jobs_advisory_key('circles', 'of batches'));
        end if;
        with recursive below (id) as (
            select b.id from unnest(batch_ids) b(id) where b.id is not null
            union
            select e.child_id from below b cross join lateral (
            select e.child_id from jobs_flow_edges e where e.parent_id = b.id offset 0) e
        )
        select min(b.id) into v_below from below b where b.id = any (depends_on);
        if v_below is not null then
            raise exception using errcode = 'JQ003',
                message = format('a member of a batch cannot depend on job %s, which runs after the '
                                 'batch', v_below);
        end if;
    end if;
end
$$;

comment on function _jobs_flow_join is
    'internal: raises unless these batches take further members, which may depend on these jobs';

-- functions/flows/_jobs_flow_pending.sql
create or replace function _jobs_flow_pending() returns boolean
language plpgsql stable security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    return exists (select from jobs_flow_changes c)
        or exists (select from jobs_flow_edges e where not e.is_attached);
end
$$;

comment on function _jobs_flow_pending is
    'internal: whether ends of parents have still to be counted';

-- functions/flows/_jobs_flow_recount.sql
-- The caller has locked the job. Counts its parents anew, from their rows. One statement reads the
-- parents and deletes the changes that were noted, by one snapshot: a parent that ends meanwhile is
-- either counted here, or its change stays. An edge that is not attached counts as a parent that has
-- not ended, because attaching it will count it.
create or replace function _jobs_flow_recount(child_id bigint) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
begin
    with noted as (
        delete from jobs_flow_changes c where c.child_id = _jobs_flow_recount.child_id
    )
    update jobs_flows f
    set parents = e.parents,
        completed = e.completed,
        failed = e.failed,
        cancelled = e.cancelled,
        keeps_parents = e.keeps_parents,
        counted_at = clock_timestamp()
    from (
        select count(*) as parents,
            count(*) filter (where e.is_attached and p.status = 'completed') as completed,
            count(*) filter (where e.is_attached and p.status = 'failed') as failed,
            count(*) filter (where e.is_attached and (p.status = 'cancelled' or p.id is null))
                as cancelled,
            coalesce(bool_or(p.marks & 1 = 1), false) as keeps_parents
        from jobs_flow_edges e
        left join jobs p on p.id = e.parent_id
        where e.child_id = _jobs_flow_recount.child_id
    ) e
    where f.job_id = _jobs_flow_recount.child_id;
    -- For the caller that counts next.
    insert into jobs_flow_changes (child_id) values (_jobs_flow_recount.child_id);
end
$$;

comment on function _jobs_flow_recount is
    'internal: counts the parents of a locked job anew, from their rows';

-- functions/flows/_jobs_flow_reopened.sql
-- For ended jobs that this transaction is about to make pending again, while their rows are as they
-- ended: the children that still wait for them count them as not ended. A child that has begun
-- before goes on.
create or replace function _jobs_flow_reopened(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
begin
    insert into jobs_flow_changes (child_id, completed, failed, cancelled)
    select e.child_id, -count(*) filter (where p.status = 'completed'),
        -count(*) filter (where p.status = 'failed'),
        -count(*) filter (where p.status = 'cancelled')
    from (
        select j.id, j.status from jobs j
        where j.id = any (job_ids) and (j.finished_at is not null) is true
        offset 0
    ) p
    cross join lateral (
        select e.child_id from jobs_flow_edges e
        where e.parent_id = p.id and e.is_attached
        offset 0
    ) e
    group by e.child_id;
end
$$;

comment on function _jobs_flow_reopened is
    'internal: takes back what the ends of these jobs counted for the jobs that wait for them';

-- functions/flows/_jobs_flow_resolve.sql
-- Counts what has changed among the parents of jobs, and lets go those that have nothing left to wait
-- for. Returns how many it counted: the caller repeats until 0.
--
-- Two sessions cannot both count a change: _jobs_flow_count has the child's lock. A cancelled job
-- may cancel those that wait for it, and so on: that goes on here for a moment, and then by further
-- calls.
create or replace function _jobs_flow_resolve(max_children int) returns bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    c_goes_on_for constant interval := '0.2 seconds';
    v_until constant timestamptz := clock_timestamp() + c_goes_on_for;
    v_round record;
    v_counted bigint := 0;
begin
    loop
        select c.counted, c.is_cascading into v_round from _jobs_flow_count(max_children) c;
        v_counted := v_counted + v_round.counted;
        exit when not v_round.is_cascading or v_counted >= max_children
            or clock_timestamp() > v_until;
    end loop;
    return v_counted;
end
$$;

comment on function _jobs_flow_resolve is
    'internal: counts the ended parents of jobs, and lets go or cancels those that wait no more';

-- functions/flows/_jobs_flow_tell.sql
-- After a change among the parents of some jobs: tells a living worker, on commit, that there is
-- something to count. The other workers hear it too, and look a second later in case the picked one
-- hangs. Where no worker of pgjobs lives, whoever has ended a job counts in this transaction: a worker
-- in another language needs to know nothing of flows. What it cannot count within a second is counted
-- by the next end, by jobs_recover, or by a worker's tick.
create or replace function _jobs_flow_tell(is_end boolean default true) returns void
language plpgsql volatile
set search_path from current
as $$
declare
    c_max_jobs constant int := 1000;
    c_counts_for constant interval := '1 second';
    v_until constant timestamptz := clock_timestamp() + c_counts_for;
    v_key bigint;
begin
    select w.listening_key into v_key
    from (select w.* from jobs_workers w order by w.worker) w
    where _jobs_is_locked(w.name_key)
    limit 1;
    if not found then
        -- Who enqueues would hold the locks of the count until its commit.
        if not is_end then
            return;
        end if;
        -- Counting may end further jobs, whose ends come here again: not one within the other.
        if current_setting('pgjobs.counts_flows', true) is distinct from 'on' then
            perform set_config('pgjobs.counts_flows', 'on', true), _jobs_flow_attach(c_max_jobs);
            while _jobs_flow_resolve(c_max_jobs) > 0 and clock_timestamp() < v_until loop
                null;
            end loop;
            perform set_config('pgjobs.counts_flows', 'off', true);
        end if;
    elsif pg_notification_queue_usage() < 0.5 then
        perform pg_notify(jobs_channel('jobs_flow'), v_key::text);
    end if;
end
$$;

comment on function _jobs_flow_tell is
    'internal: has a worker count what has changed among the parents of jobs';

-- functions/flows/_jobs_flow_tidy.sql
-- What a worker's full tick does for flows, a bounded part each time. Two sessions cannot both win:
-- rows that another session has locked are skipped.
--
-- A flow that has not been looked at for an hour is counted anew, because rows may have been changed
-- or deleted by hand. Parents that were kept only for a child go once the child has ended.
create or replace function _jobs_flow_tidy(max_flows int) returns bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    c_counted_anew_after constant interval := '1 hour';
    c_max_parents constant int := 10000;
    v_flows bigint[];
    v_flow bigint;
    v_parents bigint[];
    v_found bigint := 0;
begin
    v_flows := array(
        select f.job_id from jobs_flows f
        where f.counted_at < clock_timestamp() - c_counted_anew_after
        order by f.counted_at
        limit max_flows
        for no key update skip locked);
    if v_flows <> '{}' then
        v_found := cardinality(v_flows);
        update jobs_flows f set counted_at = clock_timestamp() where f.job_id = any (v_flows);
        perform _jobs_flow_recount(l.id)
        from (
            select j.id from jobs j
            where j.id = any (v_flows) and (j.status = 'blocked') is true
            for no key update skip locked
        ) l
        join jobs_flows f on f.job_id = l.id and f.parents <= c_max_parents;
        -- Their jobs were deleted while these rows were locked, or by hand.
        perform _jobs_forget(array(
            select o.id from unnest(v_flows) o(id)
            where (select true from jobs j where j.id = o.id) is null));
    end if;
    for v_flow in
        select f.job_id from jobs_flows f
        where f.keeps_parents
            and not exists (select from jobs j
                            where j.id = f.job_id and (j.finished_at is not null) is false)
        order by f.job_id
        limit max_flows
        for no key update skip locked
    loop
        v_parents := array(
            select p.id
            from jobs_flow_edges e
            cross join lateral (
                select p.id from jobs p
                where p.id = e.parent_id and (p.marks & 1) = 1
                    and (p.finished_at is not null) is true and not _jobs_is_needed(p.id)
                    and not exists (select from jobs_watched w where w.job_id = p.id)
                for update skip locked) p
            where e.child_id = v_flow
            limit c_max_parents);
        delete from jobs j where j.id = any (v_parents);
        perform _jobs_forget(v_parents);
        -- Parents that another session has locked are kept still.
        if (select true from jobs_flow_edges e
            where e.child_id = v_flow
                and (select (p.marks & 1) = 1 from jobs p where p.id = e.parent_id)
                and not _jobs_is_needed(e.parent_id)
            limit 1) is null
        then
            update jobs_flows f set keeps_parents = false where f.job_id = v_flow;
            if (select true from jobs j where j.id = v_flow) is null then
                perform _jobs_forget(array[v_flow]);
            end if;
        end if;
        v_found := v_found + cardinality(v_parents);
    end loop;
    return v_found;
end
$$;

comment on function _jobs_flow_tidy is
    'internal: counts old flows anew, and deletes parents that were kept for jobs that have ended';

-- functions/flows/_jobs_flow_waiting.sql
-- For jobs that the caller has locked and is about to make pending. Locks their flows: nobody adds a
-- member to a batch that is not in the answer, until the caller commits. Nested look-ups, so that a
-- planner without statistics cannot start from all jobs.
create or replace function _jobs_flow_waiting(job_ids bigint[]) returns bigint[]
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_closed bigint[];
begin
    v_closed := array(
        select f.job_id from jobs_flows f
        where f.job_id = any (job_ids) and not f.is_open
        for update skip locked);
    return array(
        select j.id from jobs j
        where j.id = any (job_ids) and j.attempt = 0
            and (select true from jobs_flows f where f.job_id = j.id)
            and (j.id <> all (v_closed) or (
                select true from jobs_flow_edges e
                where e.child_id = j.id and (
                    select (p.finished_at is not null) is false from jobs p
                    where p.id = e.parent_id)
                limit 1)));
end
$$;

comment on function _jobs_flow_waiting is
    'internal: those of these jobs that have never run and wait for parents, or for an open batch';

-- functions/flows/_jobs_is_needed.sql
-- Whoever deletes ended jobs leaves out those that an unfinished job has named as its parents: that
-- job may read their results. PL/pgSQL and nested look-ups, so that a planner without statistics
-- cannot start from another table.
create or replace function _jobs_is_needed(job_id bigint) returns boolean
language plpgsql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
begin
    return exists (
        select from jobs_flow_edges e
        where e.parent_id = job_id and (
            select (c.finished_at is not null) is false from jobs c where c.id = e.child_id));
end
$$;

comment on function _jobs_is_needed is
    'internal: whether a job that has not ended waits for this job, or has waited for it';

-- functions/watching: who waits for the ends of jobs
-- functions/watching/jobs_outcomes.sql
-- Whoever has read a job's end waits no more, so the job's watches go. A job that is kept only
-- because it was watched (marks, bit 1) is not deleted here: the answer may be lost on its way. The
-- caller can read such a job once more for a minute, then a worker's tick deletes it.
--
-- Waits for no other session: a watch that another session has locked is left to the tick.
create or replace function jobs_outcomes(job_ids bigint[]) returns table (
    job_id bigint,
    status text,
    result jsonb,
    error text,
    finished_at timestamptz
)
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
    c_kept_after_reading constant interval := '1 minute';
begin
    perform _jobs_check_job_ids(job_ids);
    return query
    with found as materialized (
        select j.id, j.status, j.result, j.error, j.finished_at,
            coalesce(j.marks & 1, 0) = 1 as goes_with_watch
        from jobs j
        where j.id = any (job_ids)
    ), read as materialized (
        -- By arrays, so that the planner cannot start from the watches and read all of them.
        select w.ctid as place, w.job_id = any (array(
            select f.id from found f where f.goes_with_watch)) as keeps
        from jobs_watched w
        where w.job_id = any (array(select f.id from found f where f.finished_at is not null))
        for update skip locked
    ), unwatched as (
        delete from jobs_watched w
        where w.ctid = any (array(select r.place from read r where not r.keeps))
    ), shortened as (
        update jobs_watched w
        set watched_until = least(w.watched_until, clock_timestamp() + c_kept_after_reading)
        where w.ctid = any (array(select r.place from read r where r.keeps))
    )
    select f.id, f.status, f.result, f.error, f.finished_at::timestamptz from found f;
end
$$;

comment on function jobs_outcomes is
    'how far these jobs are: status, result, error, finished_at; ends the watch of those that ended';

-- functions/watching/jobs_watch.sql
-- Reads jobs without a lock and inserts without a unique index, so that it never waits: not for a
-- worker that is ending one of the jobs, and not for another session that watches the same job. A
-- watch outlasts the job's run_at by a day. Where one lasts for half a day more, none is inserted.
--
-- Whoever ends a job looks for watches in that statement. If the end began before the watch was
-- committed, the end is not notified. So the caller looks for the outcome after this call, once
-- more shortly afterwards, and then now and then (pgjobs/watching/watcher.py).
create or replace function jobs_watch(job_ids bigint[]) returns setof bigint
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    c_watched_for constant interval := '24 hours';
    v_now constant timestamptz := clock_timestamp();
    v_ids bigint[];
    v_run_ats timestamptz[];
begin
    perform _jobs_check_job_ids(job_ids);
    select array_agg(j.id), array_agg(j.run_at) into v_ids, v_run_ats
    from jobs j
    where j.id = any (job_ids) and (j.finished_at is not null) is false;
    insert into jobs_watched (job_id, watched_until)
    select u.id, least(greatest(u.run_at, v_now), '9999-12-29 00:00:00+00') + c_watched_for
    from unnest(v_ids, v_run_ats) u(id, run_at)
    where not exists (select from jobs_watched w
                      where w.job_id = u.id and w.watched_until > v_now + c_watched_for / 2);
    return query select unnest(v_ids);
end
$$;

comment on function jobs_watch is
    'has the end of these jobs notified on channel jobs_done; returns those that have not ended';

-- functions/watching/_jobs_check_job_ids.sql
create or replace function _jobs_check_job_ids(job_ids bigint[]) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if job_ids is null or array_ndims(job_ids) > 1 or array_position(job_ids, null) is not null then
        raise exception using errcode = 'JQ003',
            message = 'job_ids must be a plain list of ids without nulls';
    end if;
end
$$;

comment on function _jobs_check_job_ids is 'internal: refuses null, and a list with nulls';

-- functions/watching/_jobs_tell_watchers.sql
-- Called in the transaction in which these jobs end, so that nobody hears of an end before the
-- commit. It tells the ids alone: who may not read a result must not hear it either.
--
-- While the server's notification queue is half full this function sends nothing, because a full
-- queue would make the caller's commit fail. Who waits finds the end by looking.
create or replace function _jobs_tell_watchers(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    -- An id has at most 19 digits, and a notification at most 7,999 bytes.
    c_ids_per_notification constant int := 395;
begin
    if pg_notification_queue_usage() >= 0.5 then
        return;
    end if;
    perform pg_notify(jobs_channel('jobs_done'), string_agg(n.job_id::text, ',' order by n.job_id))
    from (
        select d.job_id, (row_number() over (order by d.job_id) - 1) / c_ids_per_notification as part
        from (select distinct w.job_id from jobs_watched w where w.job_id = any (job_ids)) d
    ) n
    group by n.part;
end
$$;

comment on function _jobs_tell_watchers is
    'internal: notifies the ids of those of these jobs that are watched, on commit';

-- functions/watching/_jobs_unwatch.sql
-- Two sessions cannot both win: watches and jobs that another session has locked are skipped, and
-- the next tick looks at them again.
--
-- A job that is kept only because it was watched goes with its last watch, or with the last job
-- that waits for it (_jobs_flow_tidy).
create or replace function _jobs_unwatch(max_watches int) returns bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_has_flows constant boolean := exists (select from jobs_flows f);
    v_now constant timestamptz := clock_timestamp();
    v_places tid[];
    v_ids bigint[];
    v_going bigint[];
begin
    select array_agg(o.ctid), array_agg(o.job_id) into v_places, v_ids
    from (
        select w.ctid, w.job_id from jobs_watched w
        where w.watched_until < v_now
        order by w.watched_until
        limit max_watches
        for update skip locked
    ) o;
    if v_ids is null then
        return 0;
    end if;
    v_going := array(
        select j.id from jobs j
        where j.id = any (v_ids) and (j.marks & 1) = 1 and (j.finished_at is not null) is true
            and not exists (select from jobs_watched w
                            where w.job_id = j.id and w.watched_until >= v_now)
            and not (v_has_flows and _jobs_is_needed(j.id))
        for update skip locked);
    delete from jobs j where j.id = any (v_going);
    perform _jobs_forget(v_going);
    -- The job that another session has locked keeps its watch, or nobody would delete the job.
    delete from jobs_watched w
    where w.ctid = any (v_places)
        and not exists (select from jobs j
                        where j.id = w.job_id and (j.marks & 1) = 1
                            and not (v_has_flows and _jobs_is_needed(j.id))
                            and not exists (select from jobs_watched l
                                            where l.job_id = j.id and l.watched_until >= v_now));
    return cardinality(v_ids);
end
$$;

comment on function _jobs_unwatch is
    'internal: ends up to max_watches watches that are over; returns how many it found';

-- functions/schedules: what is enqueued by the clock
-- functions/schedules/jobs_cron_next.sql
-- Acts as its owner, so that who calls it needs no right to call what it calls.
create or replace function jobs_cron_next(
    cron text,
    after timestamptz default null,
    timezone text default 'UTC'
) returns timestamptz
language plpgsql stable security definer
set search_path from current
as $$
declare
    v_after timestamptz := coalesce(after, clock_timestamp());
begin
    perform _jobs_check_timezone(timezone);
    if not (v_after >= '0001-01-03 00:00:00+00' and v_after < '9990-01-01 00:00:00+00') then
        raise exception using errcode = 'JQ003',
            message = format('after must be a moment in the years 1 to 9989, not %s', v_after);
    end if;
    return _jobs_cron_next(cron, v_after, coalesce(timezone, 'UTC'));
end
$$;

comment on function jobs_cron_next is
    'the next moment of a cron expression after another one; null: none within 8 years';

-- functions/schedules/jobs_schedule.sql
-- Two sessions cannot both make a schedule: the name is the key, and the second one changes the row
-- of the first.
--
-- next_at stays where its reasons stay: else a schedule of every six hours that each deploy
-- declares again would never fire. A tick that is due is still made up for.
create or replace function jobs_schedule(
    name text,
    job_type text,
    cron text default null,
    every interval default null,
    timezone text default 'UTC',
    payload jsonb default '{}',
    queue text default 'default',
    priority int default 0,
    max_retries int default 3,
    backoff interval[] default null,
    group_key text default null,
    missed text default 'latest',
    missed_within interval default null,
    overlap text default 'skip',
    starts_at timestamptz default null,
    ends_at timestamptz default null
) returns setof jobs_schedules
language plpgsql volatile security definer rows 1
set search_path from current
as $$
#variable_conflict use_column
declare
    v_new jobs_schedules;
begin
    perform _jobs_check_job(
        jobs_schedule.job_type, jobs_schedule.queue, jobs_schedule.priority,
        null, null, jobs_schedule.max_retries, null, null,
        jobs_schedule.backoff, null, jobs_schedule.group_key, null, null);
    perform _jobs_check_schedule(
        jobs_schedule.name, jobs_schedule.cron, jobs_schedule.every, jobs_schedule.timezone,
        jobs_schedule.missed, jobs_schedule.missed_within, jobs_schedule.overlap,
        jobs_schedule.starts_at, jobs_schedule.ends_at);
    v_new.name := jobs_schedule.name;
    v_new.job_type := jobs_schedule.job_type;
    v_new.cron := jobs_schedule.cron;
    v_new.every := jobs_schedule.every;
    v_new.timezone := coalesce(jobs_schedule.timezone, 'UTC');
    v_new.payload := coalesce(jobs_schedule.payload, '{}');
    v_new.queue := coalesce(jobs_schedule.queue, 'default');
    v_new.priority := coalesce(jobs_schedule.priority, 0);
    v_new.max_retries := coalesce(jobs_schedule.max_retries, 3);
    v_new.backoff := jobs_schedule.backoff;
    v_new.group_key := jobs_schedule.group_key;
    v_new.missed := coalesce(jobs_schedule.missed, 'latest');
    v_new.missed_within := jobs_schedule.missed_within;
    v_new.overlap := coalesce(jobs_schedule.overlap, 'skip');
    v_new.starts_at := jobs_schedule.starts_at;
    v_new.ends_at := jobs_schedule.ends_at;
    v_new.recent_job_ids := '{}';
    v_new.created_at := clock_timestamp();
    v_new.updated_at := v_new.created_at;
    v_new.next_at := _jobs_schedule_next(v_new, v_new.created_at);
    return query
    insert into jobs_schedules as s select v_new.*
    on conflict (name) do update
    set job_type = excluded.job_type,
        cron = excluded.cron,
        every = excluded.every,
        timezone = excluded.timezone,
        payload = excluded.payload,
        queue = excluded.queue,
        priority = excluded.priority,
        max_retries = excluded.max_retries,
        backoff = excluded.backoff,
        group_key = excluded.group_key,
        missed = excluded.missed,
        missed_within = excluded.missed_within,
        overlap = excluded.overlap,
        starts_at = excluded.starts_at,
        ends_at = excluded.ends_at,
        updated_at = excluded.updated_at,
        error = null,
        next_at = case
            when (s.cron, s.every, s.timezone, s.starts_at, s.ends_at)
                is distinct from (excluded.cron, excluded.every, excluded.timezone,
                                  excluded.starts_at, excluded.ends_at)
            then excluded.next_at
            else s.next_at end
    returning s.*;
    perform _jobs_schedule_signal(jobs_schedule.name);
    perform _jobs_audit_note('schedule', filters => jsonb_build_object(
        'name', v_new.name, 'job_type', v_new.job_type, 'cron', v_new.cron,
        'every', v_new.every, 'timezone', v_new.timezone, 'queue', v_new.queue));
end
$$;

comment on function jobs_schedule is
    'makes a schedule, or changes the one of that name: what is left out gets its default';

-- functions/schedules/jobs_schedule_pause.sql
-- Two sessions cannot both win: the row is locked before it is read.
create or replace function jobs_schedule_pause(name text) returns setof jobs_schedules
language plpgsql volatile security definer rows 1
set search_path from current
as $$
begin
    perform _jobs_schedule_lock(name);
    return query
    update jobs_schedules s
    set paused_at = coalesce(s.paused_at, clock_timestamp()), updated_at = clock_timestamp()
    where s.name = jobs_schedule_pause.name
    returning s.*;
    perform _jobs_audit_note('schedule_pause', filters => jsonb_build_object('name', name));
end
$$;

comment on function jobs_schedule_pause is 'pauses a schedule: its ticks pass, and are not missed';

-- functions/schedules/jobs_schedule_preview.sql
-- Acts as its owner, because an observer may not read the payloads in jobs_schedules.
create or replace function jobs_schedule_preview(
    name text default null,
    cron text default null,
    every interval default null,
    timezone text default 'UTC',
    ticks int default 5
) returns table (at timestamptz, local_time timestamp)
language plpgsql stable security definer
set search_path from current
as $$
declare
    v_schedule jobs_schedules;
begin
    if ticks is null or ticks not between 0 and 1000 then
        raise exception using errcode = 'JQ003',
            message = format('ticks must be from 0 to 1000, not %s', coalesce(ticks::text, 'null'));
    end if;
    if name is not null then
        select s.* into v_schedule from jobs_schedules s where s.name = jobs_schedule_preview.name;
        if not found then
            raise exception using errcode = 'JQ001',
                message = format('there is no schedule %s', left(name, 100)),
                hint = 'pgjobs schedule list shows all of them.';
        end if;
    else
        perform _jobs_check_schedule('preview', cron, every, timezone, 'latest', null, 'skip',
                                     null, null);
        v_schedule.cron := cron;
        v_schedule.every := every;
        v_schedule.timezone := coalesce(timezone, 'UTC');
    end if;
    at := clock_timestamp();
    for v_tick in 1 .. ticks loop
        at := _jobs_schedule_next(v_schedule, at);
        exit when at is null;
        local_time := at at time zone v_schedule.timezone;
        return next;
    end loop;
end
$$;

comment on function jobs_schedule_preview is
    'the next ticks of a schedule, or of what would be one, also as its time zone''s clocks show them';

-- functions/schedules/jobs_schedule_resume.sql
-- Two sessions cannot both win: the row is locked before it is read.
create or replace function jobs_schedule_resume(name text) returns setof jobs_schedules
language plpgsql volatile security definer rows 1
set search_path from current
as $$
declare
    v_schedule jobs_schedules := _jobs_schedule_lock(name);
begin
    return query
    update jobs_schedules s
    set next_at = case when s.paused_at is null then s.next_at
            else _jobs_schedule_next(v_schedule, clock_timestamp()) end,
        paused_at = null,
        updated_at = clock_timestamp()
    where s.name = jobs_schedule_resume.name
    returning s.*;
    perform _jobs_schedule_signal(name);
    perform _jobs_audit_note('schedule_resume', filters => jsonb_build_object('name', name));
end
$$;

comment on function jobs_schedule_resume is
    'lets a paused schedule fire again, from its next tick on';

-- functions/schedules/jobs_schedule_run.sql
-- Two sessions cannot both win where the jobs of a schedule may not overlap: the schedule's row is
-- locked, and the second one is given the job of the first.
create or replace function jobs_schedule_run(name text) returns setof jobs
language plpgsql volatile security definer rows 1
set search_path from current
as $$
declare
    v_schedule jobs_schedules := _jobs_schedule_lock(name);
    v_job jobs;
begin
    select e.* into v_job from _jobs_schedule_enqueue(v_schedule, clock_timestamp()) e;
    if v_job.id is null then
        return query
        select h.* from _jobs_key_holder(v_schedule.job_type, 'schedule/' || name) h;
        return;
    end if;
    update jobs_schedules s
    set last_at = clock_timestamp(),
        recent_job_ids = (v_job.id || s.recent_job_ids)[1:4],
        error = null
    where s.name = jobs_schedule_run.name;
    perform _jobs_audit_note(
        'schedule_run', v_job.id, jobs => 1, filters => jsonb_build_object('name', name));
    return next v_job;
end
$$;

comment on function jobs_schedule_run is
    'adds a job of a schedule now; returns the job in its way, where two may not overlap';

-- functions/schedules/jobs_schedules_fire.sql
-- Two sessions cannot both fire a tick: the second one skips the locked row, or reads its new
-- next_at after the lock. The jobs and the new next_at commit together, so a session that is killed
-- leaves the tick to the next one.
--
-- One subtransaction holds all schedules, because a subtransaction per schedule makes every session
-- of the server slower. Only if one schedule fails, each has its own: then a schedule that cannot
-- enqueue says why in its row and goes on to its next tick, and one that waits for a lock stays
-- due. Errors that concern no schedule (a deadlock, a full disk) end the whole call.
create or replace function jobs_schedules_fire(max_schedules int default 100) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
set lock_timeout = '1s'
as $$
declare
    -- A worker is patient for longer, and calls again at once while schedules are due.
    c_at_most constant interval := '1 second';
    v_now constant timestamptz := clock_timestamp();
    v_stop_at constant timestamptz := v_now + c_at_most;
    v_due jobs_schedules[];
    v_schedule jobs_schedules;
    -- Rows that were returned within a block would survive its error.
    v_jobs jobs[] := '{}';
    v_some jobs[];
begin
    if max_schedules < 0 then
        raise exception using errcode = 'JQ003',
            message = format('max_schedules must be 0 or more, not %s', max_schedules);
    end if;
    v_due := array(
        select d from (
            select s.* from jobs_schedules s
            where s.paused_at is null and s.next_at is not null and s.next_at <= v_now
            order by s.next_at
            limit coalesce(max_schedules, 100)
            for update skip locked) d);
    begin
        foreach v_schedule in array v_due loop
            exit when v_jobs <> '{}' and clock_timestamp() > v_stop_at;
            v_jobs := v_jobs || array(
                select f from _jobs_schedule_fire(v_schedule, v_now, v_stop_at) f);
        end loop;
        return query select j.* from unnest(v_jobs) j;
        return;
    exception
        when transaction_rollback or insufficient_resources or operator_intervention
            or system_error
        then
            raise;
        when others then
            v_jobs := '{}';
    end;
    -- The schedules wait a second for all locks together: who calls this may have little patience.
    perform set_config('lock_timeout', '10ms', true);
    foreach v_schedule in array v_due loop
        exit when v_jobs <> '{}' and clock_timestamp() > v_stop_at;
        begin
            v_some := array(select f from _jobs_schedule_fire(v_schedule, v_now, v_stop_at) f);
            v_jobs := v_jobs || v_some;
        exception
            when lock_not_available then
                null;
            when transaction_rollback or insufficient_resources or operator_intervention
                or system_error
            then
                raise;
            when others then
                perform _jobs_schedule_fail(v_schedule, v_now, sqlerrm);
        end;
    end loop;
    return query select j.* from unnest(v_jobs) j;
end
$$;

comment on function jobs_schedules_fire is
    'enqueues the jobs of all schedules that are due, and sets when each is due next';

-- functions/schedules/jobs_unschedule.sql
-- Two sessions cannot both win: the row is locked before it is deleted.
create or replace function jobs_unschedule(name text) returns setof jobs_schedules
language plpgsql volatile security definer rows 1
set search_path from current
as $$
begin
    perform _jobs_schedule_lock(name);
    return query
    delete from jobs_schedules s where s.name = jobs_unschedule.name returning s.*;
    perform _jobs_audit_note('unschedule', filters => jsonb_build_object('name', name));
end
$$;

comment on function jobs_unschedule is 'removes a schedule; its jobs stay';

-- functions/schedules/_jobs_check_schedule.sql
create or replace function _jobs_check_schedule(
    name text,
    cron text,
    every interval,
    timezone text,
    missed text,
    missed_within interval,
    overlap text,
    starts_at timestamptz,
    ends_at timestamptz
) returns void
language plpgsql stable
set search_path from current
as $$
declare
    v_problem text;
begin
    v_problem := case
        when coalesce(octet_length(name), 0) not between 1 and 500
            then 'name must have 1 to 500 bytes'
        when num_nonnulls(cron, every) <> 1 then 'give either cron or every'
        when extract(year from every) <> 0 or extract(month from every) <> 0
            then format('every must have no months, not %s: for those give cron', every)
        when every < '1 second' or every > '36500 days'
            then format('every must be from 1 second to 100 years, not %s', every)
        when missed not in ('latest', 'all', 'none')
            then format('missed must be latest, all or none, not %s', left(missed, 40))
        when missed_within <= '0' or not _jobs_valid_delays(array[missed_within])
            then format('missed_within must be above 0 and at most 100 years, not %s',
                        missed_within)
        when overlap not in ('skip', 'allow', 'replace')
            then format('overlap must be skip, allow or replace, not %s', left(overlap, 40))
        when not (starts_at >= '0001-01-02 00:00:00+00' and starts_at < '9999-12-31 00:00:00+00')
            then format('starts_at must be a moment in the years 1 to 9999, not %s', starts_at)
        when not (ends_at >= '0001-01-02 00:00:00+00' and ends_at < '9999-12-31 00:00:00+00')
            then format('ends_at must be a moment in the years 1 to 9999, not %s', ends_at)
        when ends_at < starts_at then 'ends_at must not be before starts_at'
    end;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
    perform _jobs_check_timezone(timezone);
    if cron is not null then
        perform _jobs_cron_fields(cron);
    end if;
end
$$;

comment on function _jobs_check_schedule is 'internal: raises if an argument is invalid';

-- functions/schedules/_jobs_check_timezone.sql
-- PostgreSQL itself takes abbreviations too, and anything that reads as a POSIX zone: XYZ+3. Only
-- pg_timezone_names tells them apart, but to read all its files takes 50 ms. No name with a slash
-- and without a digit is an abbreviation or a POSIX zone.
create or replace function _jobs_check_timezone(timezone text) returns void
language plpgsql stable
set search_path from current
as $$
declare
    v_is_known boolean := true;
begin
    if timezone ~ '^[A-Za-z_]+(/[A-Za-z_-]+)+$' then
        begin
            perform clock_timestamp() at time zone timezone;
        exception when invalid_parameter_value then
            v_is_known := false;
        end;
    elsif upper(timezone) <> 'UTC' then
        v_is_known := exists (
            select from pg_timezone_names z where lower(z.name) = lower(timezone));
    end if;
    if not v_is_known then
        raise exception using errcode = 'JQ003',
            message = format('timezone %s is not known: give a name of pg_timezone_names, such as '
                             'Europe/Berlin', left(timezone, 60));
    end if;
end
$$;

comment on function _jobs_check_timezone is 'internal: raises if no time zone has this name';

-- functions/schedules/_jobs_cron_field.sql
-- The numbers of one field. names: what may be written for the first numbers.
create or replace function _jobs_cron_field(
    field text,
    called text,
    lowest int,
    highest int,
    names text[] default '{}'
) returns int[]
language plpgsql immutable
set search_path from current
as $$
declare
    v_item text;
    v_parts text[];
    v_from int;
    v_to int;
    v_step int;
    v_numbers int[] := '{}';
    v_problem text;
begin
    foreach v_item in array string_to_array(lower(field), ',') loop
        -- From, to and step, as in 1-5/2. Each number has few digits, so that it fits.
        v_parts := regexp_match(v_item,
            '^(?:\*|([a-z]+|[0-9]{1,3})(?:-([a-z]+|[0-9]{1,3}))?)(?:/([0-9]{1,3}))?$');
        v_from := lowest;
        v_to := highest;
        v_step := coalesce(v_parts[3]::int, 1);
        if v_parts[1] is not null then
            v_from := coalesce(lowest - 1 + array_position(names, v_parts[1]),
                               case when v_parts[1] ~ '^[0-9]' then v_parts[1]::int end);
            v_to := case
                when v_parts[2] is not null
                    then coalesce(lowest - 1 + array_position(names, v_parts[2]),
                                  case when v_parts[2] ~ '^[0-9]' then v_parts[2]::int end)
                when v_parts[3] is null then v_from
                else highest end;
        end if;
        v_problem := case
            when v_parts is null or v_from is null or v_to is null
                then 'must be like *, 5, 1-5, */2, 1-9/2'
                    || case when names = '{}' then '' else ' or ' || names[2] end
                    || ', or several with commas between'
            when v_from not between lowest and highest or v_to not between lowest and highest
                then format('must be from %s to %s', lowest, highest)
            when v_from > v_to then 'must not run backwards: write two ranges'
            when v_step = 0 then 'must not have the step 0'
        end;
        if v_problem is not null then
            raise exception using errcode = 'JQ003',
                message = format('cron: the %s %s, not %s', called, v_problem, left(v_item, 40));
        end if;
        v_numbers := v_numbers || array(select generate_series(v_from, v_to, v_step));
    end loop;
    return array(select distinct unnest(v_numbers) as number order by number);
end
$$;

comment on function _jobs_cron_field is
    'internal: the numbers that one field of a cron expression stands for';

-- functions/schedules/_jobs_cron_fields.sql
-- is_at_fixed_times: neither the minute nor the hour begins with a star. needs_both_days: the day
-- of the month and the weekday must both fit, because one of them begins with a star.
create or replace function _jobs_cron_fields(
    cron text,
    out minutes int[],
    out hours int[],
    out days int[],
    out months int[],
    out weekdays int[],
    out is_at_fixed_times boolean,
    out needs_both_days boolean
)
language plpgsql immutable
set search_path from current
as $$
declare
    c_names constant jsonb := '{
        "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *",
        "@weekly": "0 0 * * 0", "@daily": "0 0 * * *", "@midnight": "0 0 * * *",
        "@hourly": "0 * * * *"}';
    c_months constant text[] := '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}';
    c_weekdays constant text[] := '{sun,mon,tue,wed,thu,fri,sat}';
    v_text text := lower(btrim(cron, E' \t\n\r'));
    v_fields text[];
    v_problem text;
begin
    v_fields := regexp_split_to_array(coalesce(c_names ->> v_text, v_text), '\s+');
    v_problem := case
        when cron is null then 'cron is missing'
        when octet_length(cron) > 512 then 'cron must have at most 512 bytes'
        when v_text like '@%' and not c_names ? v_text
            then format('cron: %s is not known: write @hourly, @daily, @weekly, @monthly, @yearly, '
                        'or five fields', left(v_text, 40))
        when cardinality(v_fields) <> 5
            then format('cron must have five fields (minute, hour, day of the month, month, '
                        'weekday), not %s: %s. For seconds give `every`',
                        cardinality(v_fields), left(cron, 60))
    end;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
    minutes := _jobs_cron_field(v_fields[1], 'minute', 0, 59);
    hours := _jobs_cron_field(v_fields[2], 'hour', 0, 23);
    days := _jobs_cron_field(v_fields[3], 'day of the month', 1, 31);
    months := _jobs_cron_field(v_fields[4], 'month', 1, 12, c_months);
    -- Sunday is 0 and 7.
    weekdays := array(
        select distinct day % 7
        from unnest(_jobs_cron_field(v_fields[5], 'weekday', 0, 7, c_weekdays)) day);
    is_at_fixed_times := v_fields[1] not like '*%' and v_fields[2] not like '*%';
    needs_both_days := v_fields[3] like '*%' or v_fields[5] like '*%';
end
$$;

comment on function _jobs_cron_fields is
    'internal: what a cron expression stands for; raises if it is none';

-- functions/schedules/_jobs_cron_next.sql
-- Goes from day to day, by the clocks of the time zone, and within a day to its first moment after
-- `after`. On a day on which the clocks are changed:
--
-- - An expression with fixed hours and minutes fires once for each of its times: at the first pass
--   of an hour that is repeated, and right after an hour that is left out.
-- - Any other fires at each minute that really passes and fits.
--
-- That is what Debian's cron does (cron(8), "Notes"). A time that is left out may come after
-- midnight, hence the day before the first one.
create or replace function _jobs_cron_next(cron text, after timestamptz, timezone text)
returns timestamptz
language plpgsql stable
set search_path from current
as $$
declare
    c_day constant interval := '1 day';
    v_fields record;
    v_until timestamptz := ((after at time zone 'UTC') + interval '8 years') at time zone 'UTC';
    v_last_day date := (v_until at time zone timezone)::date + 1;
    v_day date := (after at time zone timezone)::date - 1;
    v_fits_day boolean;
    v_fits_weekday boolean;
    v_offset interval;
    v_changes boolean;
    v_next timestamptz;
begin
    v_fields := _jobs_cron_fields(cron);
    while v_day <= v_last_day loop
        if extract(month from v_day) <> all (v_fields.months) then
            v_day := date_trunc('month', v_day) + interval '1 month';
            continue;
        end if;
        v_fits_day := extract(day from v_day) = any (v_fields.days);
        v_fits_weekday := extract(dow from v_day) = any (v_fields.weekdays);
        if v_fits_day and v_fits_weekday
            or (v_fits_day or v_fits_weekday) and not v_fields.needs_both_days
        then
            v_offset := _jobs_utc_offset((v_day - c_day) at time zone 'UTC', timezone);
            v_changes := v_offset <> _jobs_utc_offset(
                (v_day + 2 * c_day) at time zone 'UTC', timezone);
            select min(m.moment) into v_next
            from unnest(v_fields.hours) hour
            cross join unnest(v_fields.minutes) minute
            cross join lateral (select v_day + make_time(hour, minute, 0)) t(shown)
            cross join lateral unnest(case
                when not v_changes then array[(t.shown at time zone 'UTC') - v_offset]
                when not v_fields.is_at_fixed_times then _jobs_local_moments(t.shown, timezone)
                else array[coalesce((_jobs_local_moments(t.shown, timezone))[1],
                                    _jobs_gap_end(t.shown, timezone))]
            end) m(moment)
            where m.moment > after;
            if v_next is not null then
                return case when v_next <= v_until then v_next end;
            end if;
        end if;
        v_day := v_day + 1;
    end loop;
    return null;
end
$$;

comment on function _jobs_cron_next is
    'internal: jobs_cron_next for a time zone that is known';

-- functions/schedules/_jobs_gap_end.sql
-- shown: what the clocks never show, since they are set forward past it. By halves of the minutes
-- between a moment before the change and one after it.
create or replace function _jobs_gap_end(shown timestamp, timezone text) returns timestamptz
language plpgsql stable
set search_path from current
as $$
declare
    v_before interval := _jobs_utc_offset(
        (shown - interval '1 day') at time zone 'UTC', timezone);
    v_after interval := _jobs_utc_offset((shown + interval '1 day') at time zone 'UTC', timezone);
    v_low timestamptz := shown at time zone 'UTC' - v_after;
    v_high timestamptz := shown at time zone 'UTC' - v_before;
    v_middle timestamptz;
begin
    while v_high - v_low > interval '1 minute' loop
        v_middle := v_low + date_trunc('minute', (v_high - v_low) / 2);
        if _jobs_utc_offset(v_middle, timezone) = v_before then
            v_low := v_middle;
        else
            v_high := v_middle;
        end if;
    end loop;
    return v_high;
end
$$;

comment on function _jobs_gap_end is
    'internal: when the clocks of a time zone go on, after they were set forward past this';

-- functions/schedules/_jobs_local_moments.sql
-- In the hour that a change of the clocks repeats there are two, in the hour that a change leaves
-- out there is none. `at time zone` alone would give one in each case. No zone has two changes
-- within two days.
create or replace function _jobs_local_moments(shown timestamp, timezone text)
returns timestamptz[]
language sql stable
set search_path from current
as $$
select array(
    select distinct m.moment
    from (values (shown - interval '1 day'), (shown + interval '1 day')) beside(at)
    cross join lateral (
        select shown at time zone 'UTC' - _jobs_utc_offset(beside.at at time zone 'UTC', timezone)
    ) m(moment)
    where m.moment at time zone timezone = shown
    order by m.moment)
$$;

comment on function _jobs_local_moments is
    'internal: the moments at which the clocks of a time zone show this';

-- functions/schedules/_jobs_schedule_due.sql
create or replace function _jobs_schedule_due() returns timestamptz
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
select s.next_at from jobs_schedules s
where s.paused_at is null and s.next_at is not null
order by s.next_at
limit 1
$$;

comment on function _jobs_schedule_due is 'internal: when a schedule is due next; null: none is';

-- functions/schedules/_jobs_schedule_enqueue.sql
-- overlap: `skip` and `replace` give the schedule's jobs one unique_key. With `skip` a job holds it
-- until it ends, with `replace` while it waits.
--
-- Two sessions cannot both replace a waiting job: the row's lock comes before its new status.
create or replace function _jobs_schedule_enqueue(schedule jobs_schedules, tick timestamptz)
returns setof jobs
language plpgsql volatile
set search_path from current
as $$
declare
    v_key text := case when schedule.overlap <> 'allow' then 'schedule/' || schedule.name end;
    v_job jobs;
begin
    if schedule.overlap = 'replace' then
        select h.* into v_job from _jobs_key_holder(schedule.job_type, v_key) h
        where h.status = 'pending' and h.unique_scope = 'pending';
        if found then
            update jobs j
            set status = 'cancelled',
                error = 'replaced by the next job of its schedule',
                updated_at = clock_timestamp(),
                finished_at = clock_timestamp()
            where j.id = v_job.id and j.status = 'pending';
            perform _jobs_signal_jobs(array[v_job.id]), _jobs_count_ends(array[v_job.id]);
        end if;
    end if;
    return query
    insert into jobs as j (
        job_type, payload, queue, priority, max_retries, backoff, group_key, unique_key,
        unique_scope, headers)
    values (
        schedule.job_type, schedule.payload, schedule.queue, schedule.priority,
        schedule.max_retries, schedule.backoff, schedule.group_key, v_key,
        case schedule.overlap when 'replace' then 'pending' else 'live' end,
        jsonb_build_object('pgjobs.schedule', schedule.name, 'pgjobs.scheduled_for', tick))
    on conflict do nothing
    returning j.*;
end
$$;

comment on function _jobs_schedule_enqueue is
    'internal: adds the job of one tick, unless the schedule''s overlap forbids it';

-- functions/schedules/_jobs_schedule_fail.sql
-- The next tick is computed once more, since that may be what fails: then it is tried in a minute.
create or replace function _jobs_schedule_fail(
    schedule jobs_schedules,
    at timestamptz,
    error text
) returns void
language plpgsql volatile
set search_path from current
as $$
declare
    v_next timestamptz;
begin
    begin
        v_next := _jobs_schedule_next(schedule, at);
    exception when others then
        v_next := _jobs_after(at, '1 minute');
    end;
    update jobs_schedules s
    set next_at = v_next, error = _jobs_schedule_fail.error
    where s.name = schedule.name;
end
$$;

comment on function _jobs_schedule_fail is
    'internal: notes why a locked schedule could add no job, and sets its next tick';

-- functions/schedules/_jobs_schedule_fire.sql
-- missed: a tick is missed if a later one is due too, or if it is a minute old.
--
-- The ticks for which there is no time until stop_at stay due, so that the next call goes on with
-- them: a call that is cut off undoes all that it did, and would never get further.
create or replace function _jobs_schedule_fire(
    schedule jobs_schedules,
    at timestamptz,
    stop_at timestamptz
) returns setof jobs
language plpgsql volatile
set search_path from current
as $$
declare
    c_late constant interval := '1 minute';
    c_max_missed constant int := 1000;
    c_recent constant int := 4;
    v_ticks timestamptz[] := array[schedule.next_at];
    v_next timestamptz := _jobs_schedule_next(schedule, schedule.next_at);
    v_tick timestamptz;
    v_job jobs;
begin
    if v_next <= at then
        v_ticks := _jobs_schedule_ticks(
            schedule, at, case schedule.missed when 'all' then c_max_missed else 1 end);
        v_next := _jobs_schedule_next(schedule, at);
    end if;
    foreach v_tick in array v_ticks loop
        if v_tick > v_ticks[1] and clock_timestamp() > stop_at then
            v_next := v_tick;
            exit;
        end if;
        continue when at - v_tick > schedule.missed_within
            or schedule.missed = 'none' and at - v_tick > c_late;
        for v_job in select e.* from _jobs_schedule_enqueue(schedule, v_tick) e loop
            schedule.last_at := v_tick;
            schedule.recent_job_ids := (v_job.id || schedule.recent_job_ids)[1:c_recent];
            return next v_job;
        end loop;
    end loop;
    update jobs_schedules s
    set next_at = v_next,
        last_at = schedule.last_at,
        recent_job_ids = schedule.recent_job_ids,
        error = null
    where s.name = schedule.name;
end
$$;

comment on function _jobs_schedule_fire is
    'internal: adds the jobs of the ticks of a locked schedule that are due, and sets the next tick';

-- functions/schedules/_jobs_schedule_lock.sql
create or replace function _jobs_schedule_lock(name text) returns jobs_schedules
language plpgsql volatile
set search_path from current
as $$
declare
    v_schedule jobs_schedules;
begin
    select s.* into v_schedule from jobs_schedules s
    where s.name = _jobs_schedule_lock.name
    for update;
    if not found then
        raise exception using errcode = 'JQ001',
            message = format('there is no schedule %s', coalesce(left(name, 100), 'null')),
            hint = 'pgjobs schedule list shows all of them.';
    end if;
    return v_schedule;
end
$$;

comment on function _jobs_schedule_lock is 'internal: locks a schedule and returns it, or raises';

-- functions/schedules/_jobs_schedule_next.sql
-- Ticks of `every` are multiples of it, counted from starts_at or from the year 1970, so that all
-- who declare the same schedule mean the same moments. In whole microseconds: a float would drift.
create or replace function _jobs_schedule_next(schedule jobs_schedules, after timestamptz)
returns timestamptz
language plpgsql stable
set search_path from current
as $$
declare
    c_day_us constant bigint := 86400000000;
    v_after timestamptz := greatest(after, schedule.starts_at - interval '1 microsecond');
    v_start timestamptz := coalesce(schedule.starts_at, 'epoch');
    v_every_us bigint;
    v_us bigint;
    v_next timestamptz;
begin
    if schedule.cron is not null then
        v_next := _jobs_cron_next(schedule.cron, v_after, schedule.timezone);
    else
        v_every_us := extract(epoch from schedule.every) * 1000000;
        v_us := v_every_us * (1 + floor(
            (extract(epoch from v_after) - extract(epoch from v_start)) * 1000000 / v_every_us));
        v_next := _jobs_after(v_start, make_interval(days => (v_us / c_day_us)::int)
                                       + (v_us % c_day_us) * interval '1 microsecond');
    end if;
    return case when v_next <= least(schedule.ends_at, '9999-12-30 00:00:00+00') then v_next end;
end
$$;

comment on function _jobs_schedule_next is
    'internal: the first tick of a schedule after a moment; null: none';

-- functions/schedules/_jobs_schedule_of.sql
create or replace function _jobs_schedule_of(s jobs_schedules) returns jsonb
language sql stable
set search_path from current
return to_jsonb(s) - array['name', 'paused_at', 'next_at', 'last_at', 'recent_job_ids', 'error',
                           'declared', 'created_at', 'updated_at']
    || jsonb_build_object('paused', s.paused_at is not null);

comment on function _jobs_schedule_of is 'internal: what a schedule is set to, to compare it';

-- functions/schedules/_jobs_schedule_signal.sql
-- Tells workers, on commit, that a schedule is new or was changed: they may sleep past its moment.
create or replace function _jobs_schedule_signal(name text) returns void
language sql volatile
set search_path from current
as $$
select pg_notify(jobs_channel('jobs_signal'), 'schedule ' || name)
where pg_notification_queue_usage() < 0.5
$$;

comment on function _jobs_schedule_signal is
    'internal: tells workers that the next moment of a schedule may have come nearer';

-- functions/schedules/_jobs_schedule_ticks.sql
-- A schedule of every minute that nobody has fired for a year has half a million ticks. So this
-- does not walk from the first one: it goes back from `until` in steps that double, until at least
-- as many ticks as are wanted lie behind, and walks on from there.
create or replace function _jobs_schedule_ticks(
    schedule jobs_schedules,
    until timestamptz,
    max_ticks int
) returns timestamptz[]
language plpgsql stable
set search_path from current
as $$
declare
    v_first constant timestamptz := schedule.next_at;
    v_step interval := interval '1 second';
    v_after timestamptz;
    v_tick timestamptz;
    v_ticks timestamptz[];
begin
    loop
        v_after := greatest(until - v_step, v_first - interval '1 microsecond');
        v_ticks := '{}';
        v_tick := v_after;
        loop
            v_tick := _jobs_schedule_next(schedule, v_tick);
            exit when v_tick is null or v_tick > until;
            v_ticks := v_ticks || v_tick;
        end loop;
        exit when cardinality(v_ticks) >= max_ticks or v_after < v_first;
        v_step := v_step * 2;
    end loop;
    return v_ticks[greatest(1, cardinality(v_ticks) - max_ticks + 1):];
end
$$;

comment on function _jobs_schedule_ticks is
    'internal: the latest ticks of a schedule from next_at up to a moment, in order';

-- functions/schedules/_jobs_schedules_declare.sql
-- Makes and changes schedules as the code of an app declares them, by the verdicts of
-- _jobs_schedules_diff: those that are new or changed, and with is_newest the older ones too.
--
-- Two workers cannot both win: the verdict is given after the lock. They lock in the same order.
create or replace function _jobs_schedules_declare(
    app text,
    schedules jsonb,
    is_newest boolean default false
) returns setof text
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_item jsonb;
    v_name text;
    v_definition jsonb;
    v_verdict text;
    v_declared jsonb;
begin
    for v_item in
        select i.item from jsonb_array_elements(schedules) i(item) order by i.item ->> 'name'
    loop
        v_name := v_item ->> 'name';
        v_definition := v_item - 'name';
        v_declared := null;
        select s.declared into v_declared from jobs_schedules s where s.name = v_name for update;
        v_verdict := _jobs_verdict(found, v_declared, v_definition);
        continue when v_verdict = 'same' or v_verdict = 'older' and not is_newest;
        begin
            perform s.name
            from jsonb_to_record(v_item) d(
                name text, job_type text, cron text, every interval, timezone text, queue text,
                priority int, max_retries int, backoff interval[], group_key text, missed text,
                missed_within interval, overlap text, starts_at timestamptz, ends_at timestamptz)
            cross join lateral jobs_schedule(
                d.name, d.job_type, d.cron, d.every, d.timezone, v_item -> 'payload', d.queue,
                d.priority, d.max_retries, d.backoff, d.group_key, d.missed, d.missed_within,
                d.overlap, d.starts_at, d.ends_at) s;
        exception when sqlstate 'JQ003' then
            raise exception using errcode = 'JQ003',
                message = format('schedule %s: %s', left(v_name, 100), sqlerrm);
        end;
        update jobs_schedules s
        set declared = _jobs_declared(app, v_definition, s.updated_at, v_declared)
            || jsonb_build_object('made', _jobs_schedule_of(s))
        where s.name = v_name;
        return next v_name;
    end loop;
end
$$;

comment on function _jobs_schedules_declare is
    'internal: makes and changes schedules as code declares them; returns the names of those';

-- functions/schedules/_jobs_schedules_diff.sql
-- schedules: what the code of an app declares, an array of objects with the arguments of
-- jobs_schedule. What code declared last is kept in the row, beside what the row holds now, so a
-- change by hand is no difference. The verdicts: see _jobs_verdict. made, current: what the row held
-- when code made it, and holds now.
create or replace function _jobs_schedules_diff(app text, schedules jsonb)
returns table (
    name text,
    verdict text,
    definition jsonb,
    declared jsonb,
    declared_at timestamptz,
    is_changed_by_hand boolean,
    made jsonb,
    current jsonb
)
language sql stable security definer
set search_path from current
as $$
with defined as (
    select i.item ->> 'name' as name, i.item - 'name' as definition
    from jsonb_array_elements(_jobs_schedules_diff.schedules) i(item)
)
select coalesce(d.name, s.name), _jobs_verdict(s.name is not null, s.declared, d.definition),
    d.definition, s.declared -> 'definition', (s.declared ->> 'at')::timestamptz,
    coalesce((s.declared ->> 'at')::timestamptz <> s.updated_at, s.name is not null),
    s.declared -> 'made', case when s.name is not null then _jobs_schedule_of(s) end
from defined d
full join jobs_schedules s on s.name = d.name
where d.name is not null or s.declared ->> 'app' = _jobs_schedules_diff.app
order by 1
$$;

comment on function _jobs_schedules_diff is
    'internal: how the schedules that code declares differ from those that code declared last';

-- functions/schedules/_jobs_utc_offset.sql
-- PostgreSQL inlines this function, so it has no settings of its own. Its body names nothing that a
-- search_path could change.
create or replace function _jobs_utc_offset(moment timestamptz, timezone text) returns interval
language sql stable
return (moment at time zone timezone) - (moment at time zone 'UTC');

comment on function _jobs_utc_offset is
    'internal: how far the clocks of a time zone are ahead of UTC at a moment';

-- functions/schedules/_jobs_worker_fire.sql
-- A worker calls this at the moment of the next tick that it knows. All workers may: who comes
-- second finds nothing due. fires_at: when a schedule is due next. It may be past: more are due
-- than one call fires, or another session fires it at this moment; then `fired` is false.
create or replace function _jobs_worker_fire()
returns table (fired boolean, fires_at timestamptz, fired_at timestamptz)
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_was_due_at timestamptz := _jobs_schedule_due();
begin
    if v_was_due_at <= clock_timestamp() then
        perform from jobs_schedules_fire();
        fires_at := _jobs_schedule_due();
    else
        fires_at := v_was_due_at;
    end if;
    fired := fires_at is distinct from v_was_due_at;
    fired_at := clock_timestamp();
    return next;
end
$$;

comment on function _jobs_worker_fire is
    'internal: fires schedules that are due; fires_at: when the next one is due';

-- functions/history: how many attempts ended, and how long they took
-- functions/history/jobs_quantile.sql
-- As histogram_quantile of Prometheus: within a bucket the durations count as evenly spread. Of those
-- longer than the last bound only that bound is known. A loop takes a fifth of the time of a query.
create or replace function jobs_quantile(counts bigint[], fraction float8 default 0.5)
returns float8
language plpgsql immutable parallel safe
set search_path from current
as $$
declare
    v_jobs bigint;
    v_all float8 := 0;
    v_below float8 := 0;
    v_rank float8;
    v_place int := 0;
    v_lower_s float8;
begin
    if counts is null or fraction between 0 and 1 is not true then
        return null;
    end if;
    foreach v_jobs in array counts loop
        v_all := v_all + coalesce(v_jobs, 0);
    end loop;
    v_rank := fraction * v_all;
    foreach v_jobs in array counts loop
        v_place := v_place + 1;
        continue when v_jobs <= 0 or v_jobs is null;
        if v_below + v_jobs >= v_rank then
            v_lower_s := case when v_place > 1 then 0.001 * 2 ^ (v_place - 1) else 0 end;
            return case when v_place = cardinality(counts) then v_lower_s
                else v_lower_s + (0.001 * 2 ^ v_place - v_lower_s) * (v_rank - v_below) / v_jobs end;
        end if;
        v_below := v_below + v_jobs;
    end loop;
    return null;
end
$$;

comment on function jobs_quantile is
    'seconds below which this fraction of the durations lies; counts: waits or runs of jobs_history';

-- functions/history/_jobs_bucket.sql
-- Of a histogram of durations: 1 for less than 2 ms, then twice as long each, 22 for less than 4,194 s,
-- and 23 for longer. A worker computes the same (pgjobs/worker/ends.py).
--
-- Without settings, so that PostgreSQL inlines it: a call would take ten times as long.
create or replace function _jobs_bucket(seconds float8) returns int
language sql immutable parallel safe
return 1 + width_bucket(seconds, array[
    0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192,
    16.384, 32.768, 65.536, 131.072, 262.144, 524.288, 1048.576, 2097.152, 4194.304]::float8[]);

comment on function _jobs_bucket is
    'internal: where a duration counts in a histogram of jobs_history';

-- functions/history/_jobs_count_completed.sql
-- For whoever completes jobs outside a worker of pgjobs, while it has their rows locked: see
-- _jobs_count_ends. It may count before the completion, because with that the rows may be deleted.
create or replace function _jobs_count_completed(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_now constant timestamptz := clock_timestamp();
begin
    -- Apart, because a planner without statistics may read all jobs in the order of the groups.
    with ended as materialized (
        select j.queue, j.job_type, _jobs_seconds(j.run_at, j.started_at) as waited_s,
            _jobs_seconds(j.started_at, coalesce(j.finished_at, v_now)) as ran_s
        from jobs j
        where j.id = any (job_ids)
    )
    insert into jobs_ends (ends)
    select json_agg(_jobs_told_ends(
        c.queue, c.job_type, 'completed', c.jobs, c.waited_s, c.wait_bucket, c.ran_s, c.run_bucket))
    from (
        select e.queue, e.job_type, count(*) as jobs, sum(e.waited_s) as waited_s,
            _jobs_bucket(e.waited_s) as wait_bucket, sum(e.ran_s) as ran_s,
            _jobs_bucket(e.ran_s) as run_bucket
        from ended e
        group by 1, 2, 5, 7
    ) c
    having count(*) > 0;
end
$$;

comment on function _jobs_count_completed is
    'internal: notes for jobs_history that these jobs are completed';

-- functions/history/_jobs_count_ends.sql
-- For whoever ends attempts outside a worker of pgjobs, after the ends: a worker counts its own, and
-- tells them every ten seconds (_jobs_note_ends). Inserts one row for all, and waits for nobody.
--
-- A job that is pending again is one that failed or was lost, where jobs_attempts has its attempt.
--
-- Who was cancelled before its start, maybe while it waited for a retry, has waited and run in no
-- attempt that ends now.
create or replace function _jobs_count_ends(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    -- A duration counts in one bucket of each histogram, so each cell has one of each.
    with ended as materialized (
        select j.queue, j.job_type, case
                when j.finished_at is not null then j.status
                when a.outcome = 'failed' then 'retried'
                else a.outcome end as outcome,
            _jobs_seconds(a.due_at, a.started_at) as waited_s,
            _jobs_seconds(a.started_at, a.ended_at) as ran_s
        from (
            -- Apart, because a planner without statistics may read all jobs in another order.
            select j.queue, j.job_type, j.status, j.id, j.attempt, j.finished_at
            from jobs j
            where j.id = any (job_ids)
            offset 0
        ) j
        left join lateral (
            select a.outcome, a.due_at, a.started_at, a.ended_at
            from jobs_attempts a
            where a.job_id = j.id and a.attempt = j.attempt
                and a.ended_at = coalesce(j.finished_at, a.ended_at)
            offset 0) a on true
    )
    insert into jobs_ends (ends)
    select json_agg(_jobs_told_ends(
        c.queue, c.job_type, c.outcome, c.jobs, c.waited_s, c.wait_bucket, c.ran_s, c.run_bucket))
    from (
        select e.queue, e.job_type, e.outcome, count(*) as jobs,
            sum(e.waited_s) as waited_s, _jobs_bucket(e.waited_s) as wait_bucket,
            sum(e.ran_s) as ran_s, _jobs_bucket(e.ran_s) as run_bucket
        from ended e
        where e.outcome is not null
        group by 1, 2, 3, 6, 8
    ) c
    having count(*) > 0;
end
$$;

comment on function _jobs_count_ends is
    'internal: notes for jobs_history how the latest attempts of these jobs have ended';

-- functions/history/_jobs_ends.sql
-- What jobs_ends has in these rows: json arrays of arrays of
--
--     queue, job_type, outcome, jobs, waited_s, {bucket: jobs, ...}, ran_s, {bucket: jobs, ...}
--
-- What has names that no job has, or is no number of jobs or seconds, is left out.
create or replace function _jobs_ends(noted jobs_ends[]) returns setof jobs_history
language sql stable
set search_path from current
set jit = off
begin atomic
    select interval '1 minute', date_trunc('minute', n.noted_at, 'UTC')::jobs_moment, e.told ->> 0,
        e.told ->> 1, e.told ->> 2, (e.told ->> 3)::bigint,
        (e.told ->> 4)::float8,
        array(select greatest((e.told -> 5 ->> b::text)::int, 0) from generate_series(1, 23) b),
        (e.told ->> 6)::float8,
        array(select greatest((e.told -> 7 ->> b::text)::int, 0) from generate_series(1, 23) b)
    from unnest(noted) n
    cross join lateral jsonb_array_elements(n.ends::jsonb) e(told)
    where coalesce(octet_length(e.told ->> 0), 0) <= 512
        and coalesce(octet_length(e.told ->> 1), 0) <= 512
        and e.told ->> 2 in ('completed', 'failed', 'cancelled', 'retried', 'lost')
        and (e.told ->> 3)::bigint between 1 and 1e12
        and (e.told ->> 4)::float8 between 0 and 1e15
        and (e.told ->> 6)::float8 between 0 and 1e15;
end;

comment on function _jobs_ends is
    'internal: what rows of jobs_ends tell, one row for each set of labels that each of them has';

-- functions/history/_jobs_history_add.sql
-- Adds up what jobs_ends has noted: into jobs_history, jobs_totals and jobs_durations. A full tick of a
-- worker calls this. Where no worker lives, jobs_recover and jobs_cleanup do (_jobs_history_add_alone).
--
-- Two sessions cannot both add a row: one of them at a time has the advisory lock, and the rows are
-- deleted by the transaction that adds them. Nobody waits for the lock.
--
-- after: nothing is added up before a row is that old, so that many workers together add up as often
-- as one. Returns whether more is left: a megabyte takes about a tenth of a second.
create or replace function _jobs_history_add(
    after interval default '0',
    max_bytes int default 3000000
) returns boolean
language plpgsql volatile
set search_path from current
set enable_mergejoin = off
set jit = off
as $$
declare
    c_max_rows constant int := 20000;
    v_noted jobs_ends[];
    v_is_more boolean;
    v_is_first_of_hour boolean;
begin
    -- In another isolation a row that has changed since the snapshot would be an error.
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted')
        or not exists (select from jobs_ends e where e.noted_at <= clock_timestamp() - after)
        or not pg_try_advisory_xact_lock(_jobs_advisory_key('history', ''))
    then
        return false;
    end if;
    with locked as (
        select o.ctid as place, pg_column_size(o.ends) as bytes
        from jobs_ends o
        limit c_max_rows
        for update skip locked
    ), fitting as (
        select l.place, sum(l.bytes) over (order by l.place) - l.bytes < max_bytes as fits
        from locked l
    ), taken as (
        delete from jobs_ends e
        where e.ctid = any (array(select f.place from fitting f where f.fits))
        returning e.*
    )
    select coalesce(array_agg(t), '{}'),
        count(*) = c_max_rows or exists (select from fitting f where not f.fits)
    into v_noted, v_is_more
    from taken t;
    v_is_first_of_hour := not exists (
        select from jobs_history h
        where h.span = interval '1 minute'
            and h.starts_at >= date_trunc('hour', clock_timestamp(), 'UTC')
            -- Of a clock that was ahead.
            and h.starts_at < clock_timestamp() + interval '1 hour');
    begin
        perform _jobs_history_add_noted(v_noted);
    exception when data_exception or program_limit_exceeded or integrity_constraint_violation then
        -- A role with the rights of a worker may note anything. What can be added, counts.
        for v_place in 1..cardinality(v_noted) loop
            begin
                perform _jobs_history_add_noted(array[v_noted[v_place]]);
            exception when data_exception or program_limit_exceeded
                or integrity_constraint_violation then
                raise warning 'a row of jobs_ends cannot be added up, and is left out: %', sqlerrm;
            end;
        end loop;
    end;
    if v_is_first_of_hour then
        perform _jobs_history_tidy();
    end if;
    return v_is_more;
end
$$;

comment on function _jobs_history_add is
    'internal: adds up what jobs_ends has noted; whether more is left';

-- functions/history/_jobs_history_add_alone.sql
-- For functions that a person or a program calls: who adds up holds off all others until the end of the
-- transaction, and that may be open for long. So where a worker lives, its ticks add up.
create or replace function _jobs_history_add_alone() returns void
language plpgsql volatile
set search_path from current
as $$
begin
    if not exists (
        select from jobs_worker_ticks t
        where t.seen_at > clock_timestamp() - interval '30 seconds')
    then
        perform _jobs_history_add();
    end if;
end
$$;

comment on function _jobs_history_add_alone is
    'internal: adds up how attempts ended, where no worker does';

-- functions/history/_jobs_history_add_durations.sql
-- The caller has the lock of _jobs_history_add, so no other session adds.
--
-- As in jobs_totals no histogram ever decreases. Once an hour those that are not busy any more make
-- room for others (_jobs_history_tidy).
create or replace function _jobs_history_add_durations(ended jobs_history[]) returns void
language plpgsql volatile
set search_path from current
set enable_mergejoin = off
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_max_types constant int := 100;
    v_room constant bigint := c_max_types - (
        select count(*) from jobs_durations d where d.queue is not null);
    v_labelled jobs_history[];
begin
    select array_agg((
            p.span, '2000-01-01', case when p.is_own then p.queue end,
            case when p.is_own then p.job_type end, '', p.jobs, p.waited_s, p.waits, p.ran_s,
            p.runs)::jobs_history)
    into v_labelled
    from (
        select s.*, s.queue is not null and s.job_type is not null
            and (s.is_there or dense_rank() over (
                    partition by s.is_there
                    order by s.jobs_of_type desc, s.queue, s.job_type) <= v_room) as is_own
        from (
            select e.*,
                sum(e.jobs) over (partition by e.queue, e.job_type) as jobs_of_type,
                (select true from jobs_durations d
                 where (d.queue, d.job_type) = (e.queue, e.job_type)) as is_there
            from unnest(ended) e
        ) s
    ) p;
    insert into jobs_durations as d
    select s.queue, s.job_type, s.waited_s, s.waits, s.ran_s, s.runs
    from _jobs_summed(v_labelled) s
    on conflict (queue, job_type) do update
    set waited_s = d.waited_s + excluded.waited_s,
        waits = array(select u.old + u.more from unnest(d.waits, excluded.waits) u(old, more)),
        ran_s = d.ran_s + excluded.ran_s,
        runs = array(select u.old + u.more from unnest(d.runs, excluded.runs) u(old, more));
end
$$;

comment on function _jobs_history_add_durations is
    'internal: adds ends of attempts to jobs_durations';

-- functions/history/_jobs_history_add_noted.sql
-- The caller has the lock of _jobs_history_add, so no other session adds.
create or replace function _jobs_history_add_noted(noted jobs_ends[]) returns void
language plpgsql volatile
set search_path from current
set jit = off
as $$
declare
    v_ended jobs_history[];
begin
    v_ended := array(select s from _jobs_summed(array(select e from _jobs_ends(noted) e)) s);
    perform _jobs_history_add_spans(v_ended);
    perform _jobs_history_add_totals(v_ended);
    perform _jobs_history_add_durations(v_ended);
end
$$;

comment on function _jobs_history_add_noted is
    'internal: adds these rows of jobs_ends to jobs_history, jobs_totals and jobs_durations';

-- functions/history/_jobs_history_add_spans.sql
-- The caller has the lock of _jobs_history_add, so no other session adds. ended: one row for each set of
-- labels (_jobs_summed).
--
-- The first 1,000 sets of labels of a minute have rows of their own, the busiest of those that come
-- together first. All others are summed in the rows without queue and job_type.
create or replace function _jobs_history_add_spans(ended jobs_history[]) returns void
language plpgsql volatile
set search_path from current
set enable_mergejoin = off
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_max_sets constant int := 1000;
begin
    with placed as (
        select e.*,
            (select true from jobs_history h
             where (h.span, h.starts_at, h.queue, h.job_type, h.outcome)
                 = (e.span, e.starts_at, e.queue, e.job_type, e.outcome)) as is_there
        from unnest(ended) e
    ), ranked as (
        select p.*, row_number() over (
                partition by p.span, p.starts_at, p.is_there
                order by p.jobs desc, p.queue, p.job_type, p.outcome) as place
        from placed p
    ), room as materialized (
        select m.span, m.starts_at, c_max_sets - (
                select count(*) from jobs_history h
                where h.span = m.span and h.starts_at = m.starts_at and h.queue is not null
            ) as sets
        from (select distinct e.span, e.starts_at from unnest(ended) e) m
    ), labelled as materialized (
        select r.*, (r.is_there or r.place <= m.sets) is true and r.queue is not null
            and r.job_type is not null as is_own
        from ranked r
        join room m using (span, starts_at)
    )
    insert into jobs_history as h
    select l.span, l.starts_at, l.queue, l.job_type, l.outcome, l.jobs, l.waited_s, l.waits, l.ran_s,
        l.runs
    from labelled l
    where l.is_own
    union all
    select o.*
    from _jobs_summed(array(
        select (l.span, l.starts_at, null, null, l.outcome, l.jobs, l.waited_s, l.waits, l.ran_s,
                l.runs)::jobs_history
        from labelled l
        where not l.is_own)) o
    on conflict (span, starts_at, queue, job_type, outcome) do update
    set jobs = h.jobs + excluded.jobs,
        waited_s = h.waited_s + excluded.waited_s,
        waits = array(select u.old + u.more from unnest(h.waits, excluded.waits) u(old, more)),
        ran_s = h.ran_s + excluded.ran_s,
        runs = array(select u.old + u.more from unnest(h.runs, excluded.runs) u(old, more));
end
$$;

comment on function _jobs_history_add_spans is
    'internal: adds ends of attempts, one row per set of labels, to jobs_history';

-- functions/history/_jobs_history_add_totals.sql
-- The caller has the lock of _jobs_history_add, so no other session adds.
--
-- A total never decreases. So a set of labels that was summed with others once has no row of its own
-- later, unless one has left: a set of which nothing has ended for 60 days.
create or replace function _jobs_history_add_totals(ended jobs_history[]) returns void
language plpgsql volatile
set search_path from current
set enable_mergejoin = off
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_max_sets constant int := 1000;
    v_room constant bigint := c_max_sets - (
        select count(*) from jobs_totals t where t.queue is not null);
begin
    insert into jobs_totals as t (queue, job_type, outcome, jobs, sets, counted_at)
    select l.queue, l.job_type, l.outcome, sum(l.jobs), count(*), clock_timestamp()
    from (
        select case when p.is_own then p.queue end as queue,
            case when p.is_own then p.job_type end as job_type, p.outcome, p.jobs
        from (
            select s.*, s.queue is not null and s.job_type is not null
                and (s.is_there or row_number() over (
                        partition by s.is_there
                        order by s.jobs desc, s.queue, s.job_type, s.outcome) <= v_room) as is_own
            from (
                select e.queue, e.job_type, e.outcome, sum(e.jobs) as jobs,
                    (select true from jobs_totals t
                     where (t.queue, t.job_type, t.outcome)
                         = (e.queue, e.job_type, e.outcome)) as is_there
                from unnest(ended) e
                group by 1, 2, 3
            ) s
        ) p
    ) l
    group by 1, 2, 3
    order by 1, 2, 3
    on conflict (queue, job_type, outcome) do update
    set jobs = t.jobs + excluded.jobs,
        sets = greatest(t.sets, excluded.sets),
        counted_at = excluded.counted_at;
end
$$;

comment on function _jobs_history_add_totals is
    'internal: adds ends of attempts to jobs_totals';

-- functions/history/_jobs_history_tidy.sql
-- The caller has the lock of _jobs_history_add, and calls this once an hour.
--
-- Adds up the minutes of an hour that began 49 h ago, deletes hours after 60 days, and lets sets of
-- labels leave that make room for others. A series that leaves never comes back with less than it had
-- but from zero, as after a restart.
create or replace function _jobs_history_tidy() returns void
language plpgsql volatile
set search_path from current
set enable_mergejoin = off
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_now constant timestamptz := clock_timestamp();
    c_max_hours constant int := 2;  -- of one call, after nobody had called for longer
    c_max_rows constant int := 20000;
    c_max_types constant int := 100;
    v_hour timestamptz;
    v_ended jobs_history[];
begin
    for v_round in 1..c_max_hours loop
        v_hour := date_trunc('hour', (
            select min(h.starts_at) from jobs_history h where h.span = interval '1 minute'), 'UTC');
        exit when v_hour is null or v_hour > v_now - interval '49 hours';
        with taken as (
            delete from jobs_history h
            where h.span = interval '1 minute' and h.starts_at < v_hour + interval '1 hour'
            returning h.*
        )
        select array_agg((interval '1 hour', v_hour, t.queue, t.job_type, t.outcome, t.jobs,
                          t.waited_s, t.waits, t.ran_s, t.runs)::jobs_history)
        into v_ended
        from taken t;
        perform _jobs_history_add_spans(array(select s from _jobs_summed(v_ended) s));
    end loop;
    delete from jobs_history h
    where h.ctid = any (array(
        select o.ctid from jobs_history o
        where o.span = interval '1 hour' and o.starts_at < v_now - interval '60 days'
        limit c_max_rows));
    delete from jobs_totals t
    where t.queue is not null and t.counted_at < v_now - interval '60 days';
    with busy as materialized (
        select h.queue, h.job_type
        from jobs_history h
        where h.span = interval '1 minute'
            and h.starts_at >= v_now - interval '1 hour' and h.queue is not null
        group by 1, 2
        order by sum(h.jobs) desc
        limit c_max_types
    )
    delete from jobs_durations d
    where (d.queue, d.job_type) in (
        select o.queue, o.job_type
        from jobs_durations o
        where o.queue is not null
            and not exists (select from busy b where (b.queue, b.job_type) = (o.queue, o.job_type))
        limit greatest(0, (select count(*) from busy b where not exists (
                               select from jobs_durations h
                               where (h.queue, h.job_type) = (b.queue, b.job_type)))
            - (c_max_types - (select count(*) from jobs_durations h where h.queue is not null))));
end
$$;

comment on function _jobs_history_tidy is
    'internal: hours instead of minutes after 48 h; deletes what is too old; frees places for the busy';

-- functions/history/_jobs_note_ends.sql
-- The worker has added up its ends since its last tick: see _jobs_ends for what it sends.
create or replace function _jobs_note_ends(ends json) returns void
language plpgsql volatile security definer
set search_path from current
as $$
begin
    if ends is null then
        raise exception using errcode = 'JQ003', message = 'ends is missing';
    end if;
    insert into jobs_ends (ends) values (_jobs_note_ends.ends);
end
$$;

comment on function _jobs_note_ends is
    'internal: notes for jobs_history how the attempts of a worker have ended since its last tick';

-- functions/history/_jobs_recent_ends.sql
-- How attempts ended lately, by queue, or by type. A busy hour has 60,000 rows of jobs_history. So this
-- reads whole minutes, the newest first, and not many more than max_rows rows; since: where it began.
-- Cancelled jobs count in none of these. bad: failed, retried or lost. A quantile is null where none ran.
create or replace function _jobs_recent_ends(
    by_type boolean default false,
    within interval default '1 hour',
    max_rows int default 3000
) returns table (
    name text, since timestamptz, attempts bigint, bad bigint, wait_p50_s float8, wait_p95_s float8,
    run_p50_s float8, run_p95_s float8
)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_first constant timestamptz := _jobs_after(clock_timestamp(), -within);
    v_since timestamptz;
begin
    select h.starts_at + interval '1 minute' into v_since
    from jobs_history h
    where h.span = interval '1 minute' and h.starts_at >= v_first
    order by h.span desc, h.starts_at desc
    offset max_rows
    limit 1;
    v_since := coalesce(v_since, v_first);
    return query
    select s.name, v_since, s.attempts, s.bad, jobs_quantile(s.waits, 0.5),
        jobs_quantile(s.waits, 0.95), jobs_quantile(s.runs, 0.5), jobs_quantile(s.runs, 0.95)
    from (
        -- Each bucket is named, because to take the arrays apart takes ten times as long.
        select case when by_type then h.job_type else h.queue end as name,
            sum(h.jobs)::bigint as attempts,
            coalesce(sum(h.jobs) filter (where h.outcome <> 'completed'), 0)::bigint as bad,
            array[
                sum(h.waits[1]), sum(h.waits[2]), sum(h.waits[3]), sum(h.waits[4]), sum(h.waits[5]),
                sum(h.waits[6]), sum(h.waits[7]), sum(h.waits[8]), sum(h.waits[9]),
                sum(h.waits[10]), sum(h.waits[11]), sum(h.waits[12]), sum(h.waits[13]),
                sum(h.waits[14]), sum(h.waits[15]), sum(h.waits[16]), sum(h.waits[17]),
                sum(h.waits[18]), sum(h.waits[19]), sum(h.waits[20]), sum(h.waits[21]),
                sum(h.waits[22]), sum(h.waits[23])
            ] as waits,
            array[
                sum(h.runs[1]), sum(h.runs[2]), sum(h.runs[3]), sum(h.runs[4]), sum(h.runs[5]),
                sum(h.runs[6]), sum(h.runs[7]), sum(h.runs[8]), sum(h.runs[9]), sum(h.runs[10]),
                sum(h.runs[11]), sum(h.runs[12]), sum(h.runs[13]), sum(h.runs[14]), sum(h.runs[15]),
                sum(h.runs[16]), sum(h.runs[17]), sum(h.runs[18]), sum(h.runs[19]), sum(h.runs[20]),
                sum(h.runs[21]), sum(h.runs[22]), sum(h.runs[23])
            ] as runs
        from jobs_history h
        where h.span = interval '1 minute' and h.starts_at >= v_since
            and h.outcome <> 'cancelled'
        group by 1
    ) s;
end
$$;

comment on function _jobs_recent_ends is
    'internal: how many attempts ended lately, how many badly, and how long they waited and ran';

-- functions/history/_jobs_seconds.sql
-- Rows may have infinite moments, if somebody has switched the constraints off; before PostgreSQL 17 an
-- infinite moment cannot be subtracted.
--
-- Without settings, so that PostgreSQL inlines it.
create or replace function _jobs_seconds(since timestamptz, until timestamptz) returns float8
language sql stable parallel safe
return case when since is not null and until is not null then
    least(greatest(date_part('epoch', until) - date_part('epoch', since), 0), 1e9) end;

comment on function _jobs_seconds is
    'internal: the seconds between two moments, as they count in jobs_history';

-- functions/history/_jobs_summed.sql
-- One row per span, moment and set of labels. Each bucket is named, because to take the arrays apart
-- and to put them together again takes ten times as long.
create or replace function _jobs_summed(ended jobs_history[]) returns setof jobs_history
language plpgsql immutable
set search_path from current
set jit = off
as $$
begin
    return query
    select e.span, e.starts_at, e.queue, e.job_type, e.outcome, sum(e.jobs)::bigint,
        sum(e.waited_s), array[
            sum(e.waits[1]), sum(e.waits[2]), sum(e.waits[3]), sum(e.waits[4]), sum(e.waits[5]),
            sum(e.waits[6]), sum(e.waits[7]), sum(e.waits[8]), sum(e.waits[9]), sum(e.waits[10]),
            sum(e.waits[11]), sum(e.waits[12]), sum(e.waits[13]), sum(e.waits[14]),
            sum(e.waits[15]), sum(e.waits[16]), sum(e.waits[17]), sum(e.waits[18]),
            sum(e.waits[19]), sum(e.waits[20]), sum(e.waits[21]), sum(e.waits[22]),
            sum(e.waits[23])
        ]::int[],
        sum(e.ran_s), array[
            sum(e.runs[1]), sum(e.runs[2]), sum(e.runs[3]), sum(e.runs[4]), sum(e.runs[5]),
            sum(e.runs[6]), sum(e.runs[7]), sum(e.runs[8]), sum(e.runs[9]), sum(e.runs[10]),
            sum(e.runs[11]), sum(e.runs[12]), sum(e.runs[13]), sum(e.runs[14]), sum(e.runs[15]),
            sum(e.runs[16]), sum(e.runs[17]), sum(e.runs[18]), sum(e.runs[19]), sum(e.runs[20]),
            sum(e.runs[21]), sum(e.runs[22]), sum(e.runs[23])
        ]::int[]
    from unnest(ended) e
    group by 1, 2, 3, 4, 5;
end
$$;

comment on function _jobs_summed is
    'internal: adds up rows of jobs_history that have the same labels and moment';

-- functions/history/_jobs_told_ends.sql
-- As _jobs_ends reads it: of one set of labels the attempts whose waits, and whose runs, count in one
-- bucket of the histogram. Null: they have neither.
--
-- Without settings, so that PostgreSQL inlines it.
create or replace function _jobs_told_ends(
    queue text,
    job_type text,
    outcome text,
    jobs bigint,
    waited_s float8,
    wait_bucket int,
    ran_s float8,
    run_bucket int
) returns json
language sql stable parallel safe
return json_build_array(
    queue, job_type, outcome, jobs, greatest(waited_s, 0),
    case when wait_bucket is not null then json_build_object(wait_bucket, jobs) else '{}' end,
    greatest(ran_s, 0),
    case when run_bucket is not null then json_build_object(run_bucket, jobs) else '{}' end);

comment on function _jobs_told_ends is
    'internal: how attempts of one set of labels have ended, as jobs_ends has it';

-- functions/history/_jobs_totals.sql
-- For monitors: jobs_totals, and what jobs_ends has noted since. sets: how many sets of labels the row
-- sums up, at least.
--
-- No total may decrease. So a set of labels that has no row yet is shown only where there is room for it
-- beyond doubt. Else it is shown when it is added up, some seconds later.
create or replace function _jobs_totals()
returns table (queue text, job_type text, outcome text, jobs bigint, sets bigint)
language plpgsql stable security definer
set search_path from current
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
    c_max_sets constant int := 1000;
    c_max_rows constant int := 20000;  -- as many as are added up at once
    v_room constant bigint := c_max_sets - (
        select count(*) from jobs_totals t where t.queue is not null);
    v_ended jobs_history[];
begin
    begin
        v_ended := array(select e from _jobs_ends(array(
            select n from jobs_ends n order by n.noted_at limit c_max_rows)) e);
    exception when data_exception or program_limit_exceeded then
        v_ended := '{}';  -- until that row is left out by who adds up
    end;
    return query
    with noted as materialized (
        select e.queue, e.job_type, e.outcome, sum(e.jobs) as jobs,
            (select true from jobs_totals t
             where (t.queue, t.job_type, t.outcome)
                 = (e.queue, e.job_type, e.outcome)) as is_there
        from unnest(v_ended) e
        where e.queue is not null and e.job_type is not null
        group by 1, 2, 3
    )
    select s.queue, s.job_type, s.outcome, sum(s.jobs)::bigint, max(s.sets)::bigint
    from (
        select t.queue, t.job_type, t.outcome, t.jobs, t.sets from jobs_totals t
        union all
        select n.queue, n.job_type, n.outcome, n.jobs, 1
        from noted n
        where n.is_there or v_room >= 2 * (select count(*) from noted o where o.is_there is null)
    ) s
    group by 1, 2, 3;
end
$$;

comment on function _jobs_totals is
    'internal: how many attempts have ended since the installation, per queue, type and outcome';

-- functions/retention: how long ended jobs stay
-- functions/retention/jobs_retain.sql
-- Two sessions cannot both make a rule: status and type are the key, and the second one changes the
-- row of the first. Both lock the rules of a status in the same order.
--
-- Each rule of the status begins anew: a type that gains or loses a rule of its own leaves or comes
-- under the general one.
create or replace function jobs_retain(
    status text,
    keep_for interval,
    job_type text default null
) returns void
language plpgsql volatile security definer
set search_path from current
as $$
begin
    if coalesce(status not in ('completed', 'failed', 'cancelled'), true) then
        raise exception using errcode = 'JQ003',
            message = format('status must be completed, failed or cancelled, not %s',
                             coalesce(left(status, 100), 'null'));
    end if;
    if not (keep_for >= '0' and keep_for <= '1000 years'
            and extract(year from keep_for) between 0 and 1000) then
        raise exception using errcode = 'JQ003',
            message = format('keep_for must be from 0 to 1000 years, not %s', keep_for);
    end if;
    if octet_length(job_type) not between 1 and 512 then
        raise exception using errcode = 'JQ003', message = 'job_type must have 1 to 512 bytes';
    end if;
    perform from jobs_retention r
    where r.status = jobs_retain.status
    order by r.job_type
    for update;
    if keep_for is null then
        delete from jobs_retention r
        where r.status = jobs_retain.status
            and r.job_type is not distinct from jobs_retain.job_type;
    else
        insert into jobs_retention as r (status, job_type, keep_for)
        values (jobs_retain.status, jobs_retain.job_type, jobs_retain.keep_for)
        on conflict on constraint jobs_retention_status_and_job_type_are_the_key do update
        set keep_for = excluded.keep_for, updated_at = excluded.updated_at;
    end if;
    update jobs_retention r
    set next_at = clock_timestamp(), healed_at = null, round_to = null, error = null
    where r.status = jobs_retain.status;
    perform _jobs_audit_note('retain', filters => jsonb_build_object(
        'status', status, 'job_type', job_type, 'keep_for', keep_for));
end
$$;

comment on function jobs_retain is
    'workers delete jobs of this status that ended longer ago than keep_for; null: they do not';

-- functions/retention/_jobs_retention_begin.sql
-- A round begins where the last one ended. Once an hour, and after a change of the rules, it begins
-- with the oldest job and with the types that there are now. Such a round finds what was passed
-- over: a job whose row was locked, one that could not be deleted, and one whose end was committed
-- late. It waits for vacuum, because it walks over the index entries of deleted jobs.
--
-- A job becomes visible a little after it has ended, so every rule keeps it for 10 s.
create or replace function _jobs_retention_begin(rule jobs_retention) returns jobs_retention
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    c_least_keep_for constant interval := '10 seconds';
    c_heal_every constant interval := '1 hour';
    v_now timestamptz := clock_timestamp();
begin
    if rule.healed_at is null or rule.healed_at < v_now - c_heal_every
        and pg_stat_get_dead_tuples('jobs'::regclass)
            < 100000 + pg_stat_get_live_tuples('jobs'::regclass) / 5
    then
        rule.healed_at := v_now;
        rule.deleted_to := null;
        rule.error := null;
        rule.types := case
            when rule.job_type is not null then array[rule.job_type]
            when exists (select from jobs_retention o
                         where o.status = rule.status and o.job_type is not null)
                then _jobs_retention_types(rule.status) end;
    end if;
    rule.round_to := greatest(rule.deleted_to, _jobs_after(
        v_now, -greatest(rule.keep_for, c_least_keep_for)));
    rule.round_place := 1;
    rule.round_from := rule.deleted_to;
    return rule;
end
$$;

comment on function _jobs_retention_begin is
    'internal: a rule at the begin of its next round';

-- functions/retention/_jobs_retention_declare.sql
-- Makes and changes rules as the code of an app declares them, by the verdicts of
-- _jobs_retention_diff: those that are new or changed, and with is_newest the older ones too.
--
-- Two workers cannot both win: the verdict is given after the lock. They lock in the same order.
create or replace function _jobs_retention_declare(
    app text,
    retention jsonb,
    is_newest boolean default false
) returns setof text
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_item jsonb;
    v_name text;
    v_definition jsonb;
    v_verdict text;
    v_declared jsonb;
begin
    for v_item in
        select i.item from jsonb_array_elements(retention) i(item) order by i.item ->> 'name'
    loop
        v_name := v_item ->> 'name';
        v_definition := v_item - 'name';
        v_declared := null;
        select r.declared into v_declared from jobs_retention r
        where r.status = v_item ->> 'status'
            and r.job_type is not distinct from v_item ->> 'job_type'
        for update;
        v_verdict := _jobs_verdict(found, v_declared, v_definition);
        continue when v_verdict = 'same' or v_verdict = 'older' and not is_newest;
        begin
            perform jobs_retain(v_item ->> 'status', (v_item ->> 'keep_for')::interval,
                                v_item ->> 'job_type');
        exception when sqlstate 'JQ003' then
            raise exception using errcode = 'JQ003',
                message = format('retention of %s: %s', left(v_name, 100), sqlerrm);
        end;
        update jobs_retention r
        set declared = _jobs_declared(app, v_definition, r.updated_at, v_declared)
            || jsonb_build_object('made', jsonb_build_object('keep_for', r.keep_for))
        where r.status = v_item ->> 'status'
            and r.job_type is not distinct from v_item ->> 'job_type';
        return next v_name;
    end loop;
end
$$;

comment on function _jobs_retention_declare is
    'internal: makes and changes rules as code declares them; returns the names of those';

-- functions/retention/_jobs_retention_delete_each.sql
-- One job that cannot be deleted (another table refers to it, a trigger raises) keeps no other.
-- The error holds no text of the trigger, because observers may read it.
create or replace function _jobs_retention_delete_each(job_ids bigint[])
returns table (deleted bigint, error text)
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_id bigint;
    v_constraint text;
    v_table text;
begin
    deleted := 0;
    foreach v_id in array job_ids loop
        begin
            delete from jobs j where j.id = v_id;
            perform _jobs_forget(array[v_id]);
            deleted := deleted + 1;
        exception
            when transaction_rollback or insufficient_resources or operator_intervention
                or system_error
            then
                raise;
            when others then
                get stacked diagnostics v_constraint = constraint_name, v_table = table_name;
                error := format('job %s: SQLSTATE %s', v_id, sqlstate)
                    || coalesce(', constraint ' || nullif(v_constraint, '')
                                    || ' of table ' || v_table, '');
        end;
    end loop;
    return next;
end
$$;

comment on function _jobs_retention_delete_each is
    'internal: deletes locked jobs one by one; error: why the last one could not be deleted';

-- functions/retention/_jobs_retention_diff.sql
-- retention: what the code of an app declares, an array of objects {"name", "status", "keep_for"},
-- with "job_type" where the rule is for one type. A change by hand is no difference, because what
-- code declared last is kept in the row. The verdicts: see _jobs_verdict. made, current: what the
-- row held when code made it, and holds now.
create or replace function _jobs_retention_diff(app text, retention jsonb)
returns table (
    name text,
    verdict text,
    definition jsonb,
    declared jsonb,
    declared_at timestamptz,
    is_changed_by_hand boolean,
    made jsonb,
    current jsonb
)
language sql stable security definer
set search_path from current
as $$
with defined as (
    select i.item ->> 'name' as name, i.item - 'name' as definition
    from jsonb_array_elements(_jobs_retention_diff.retention) i(item)
)
select coalesce(d.name, r.status || coalesce(' of ' || r.job_type, '')),
    _jobs_verdict(r.status is not null, r.declared, d.definition),
    d.definition, r.declared -> 'definition', (r.declared ->> 'at')::timestamptz,
    coalesce((r.declared ->> 'at')::timestamptz <> r.updated_at, r.status is not null),
    r.declared -> 'made',
    case when r.status is not null then jsonb_build_object('keep_for', r.keep_for) end
from defined d
full join jobs_retention r
    on r.status || coalesce(' of ' || r.job_type, '') = d.name
where d.name is not null or r.declared ->> 'app' = _jobs_retention_diff.app
order by 1
$$;

comment on function _jobs_retention_diff is
    'internal: how the retention that code declares differs from what code declared last';

-- functions/retention/_jobs_retention_enforce.sql
-- A worker calls this when its tick says that a rule is due, and soon again while `more` says so.
--
-- Two workers cannot both delete: the second one does not get the lock, which ends with the
-- transaction. What is deleted and how far the rule has come commit together, so a worker that is
-- killed leaves both as they were. A rule that jobs_retain changes at this moment is passed over.
create or replace function _jobs_retention_enforce(max_jobs int default 1000)
returns table (deleted bigint, more boolean)
language plpgsql volatile security definer
set search_path from current
as $$
declare
    c_within constant interval := '20 ms';
    v_give_up_at timestamptz := clock_timestamp() + c_within;
    v_rule jobs_retention;
begin
    deleted := 0;
    more := false;
    if pg_try_advisory_xact_lock(_jobs_advisory_key('retention', '')) then
        for v_rule in
            select r.* from jobs_retention r
            where r.next_at <= clock_timestamp()
            order by r.next_at
            for update skip locked
        loop
            deleted := deleted + _jobs_retention_sweep(v_rule, max_jobs - deleted, v_give_up_at);
            exit when deleted >= max_jobs or clock_timestamp() > v_give_up_at;
        end loop;
        more := exists (select from jobs_retention r where r.next_at <= clock_timestamp());
    end if;
    return next;
end
$$;

comment on function _jobs_retention_enforce is
    'internal: deletes what no rule keeps, up to max_jobs; more: call it again soon';

-- functions/retention/_jobs_retention_sweep.sql
-- A rule works in rounds. A round deletes all that ended before one moment, round_to: type by type,
-- in the order of finished_at. Only what is to be deleted is read, because each type is a range of
-- ix_jobs_job_type, and all types together are a range of ix_jobs_status. The row remembers how far
-- the round has come: without it, each batch would walk over the index entries of all deleted jobs
-- while another session holds an old snapshot.
create or replace function _jobs_retention_sweep(
    rule jobs_retention,
    max_jobs bigint,
    give_up_at timestamptz
) returns bigint
language plpgsql volatile
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
    v_has_flows constant boolean := exists (select from jobs_flows f);
    c_chunk constant int := 100;
    c_between_rounds constant interval := '5 seconds';
    v_type text;
    v_from timestamptz;
    v_wanted bigint;
    v_ids bigint[];
    v_last timestamptz;
    v_count bigint;
    v_deleted bigint := 0;
begin
    if rule.round_to is null then
        rule := _jobs_retention_begin(rule);
    end if;
    while rule.round_to is not null and v_deleted < max_jobs
        and clock_timestamp() < give_up_at
    loop
        v_type := rule.types[rule.round_place];
        v_from := coalesce(rule.round_from, '-infinity');
        v_wanted := least(c_chunk, max_jobs - v_deleted);
        if rule.types is null then
            select array_agg(e.id), max(e.finished_at) into v_ids, v_last
            from (
                select j.id, j.finished_at from jobs j
                where j.status = rule.status and j.status <> 'pending'
                    and j.finished_at >= v_from and j.finished_at < rule.round_to
                    and not (v_has_flows and _jobs_is_needed(j.id))
                order by j.finished_at
                limit v_wanted
                for update skip locked
            ) e;
        else
            select array_agg(e.id), max(e.finished_at) into v_ids, v_last
            from (
                select j.id, j.finished_at from jobs j
                where j.job_type = v_type and j.status = rule.status
                    and j.finished_at >= v_from and j.finished_at < rule.round_to
                    and not (v_has_flows and _jobs_is_needed(j.id))
                order by j.finished_at
                limit v_wanted
                for update skip locked
            ) e;
        end if;
        begin
            delete from jobs j where j.id = any (v_ids);
            get diagnostics v_count = row_count;
            perform _jobs_forget(v_ids);
        exception
            when transaction_rollback or insufficient_resources or operator_intervention
                or system_error
            then
                raise;
            when others then
                select d.deleted, d.error into v_count, rule.error
                from _jobs_retention_delete_each(v_ids) d;
        end;
        v_deleted := v_deleted + v_count;
        if cardinality(v_ids) = v_wanted then
            -- Many jobs may have ended at one moment, so the next chunk begins with that moment;
            -- behind it, if none of them can be deleted.
            rule.round_from := v_last + case when v_count = 0 then interval '1 us' else '0' end;
        elsif rule.round_place < cardinality(rule.types) then
            rule.round_place := rule.round_place + 1;
            rule.round_from := rule.deleted_to;
        else
            rule.deleted_to := rule.round_to;
            rule.round_to := null;
        end if;
    end loop;
    update jobs_retention r
    set next_at = clock_timestamp()
            + case when rule.round_to is null then c_between_rounds else '0' end,
        healed_at = rule.healed_at,
        types = rule.types,
        deleted_to = rule.deleted_to,
        round_to = rule.round_to,
        round_place = rule.round_place,
        round_from = rule.round_from,
        error = rule.error
    where r.status = rule.status and r.job_type is not distinct from rule.job_type;
    return v_deleted;
end
$$;

comment on function _jobs_retention_sweep is
    'internal: deletes the next jobs of a locked rule; returns how many';

-- functions/retention/_jobs_retention_types.sql
-- From type to type by one index probe each.
create or replace function _jobs_retention_types(status text) returns text[]
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
with recursive present(job_type) as (
    (select j.job_type from jobs j order by j.job_type, j.status limit 1)
    union all
    select n.job_type
    from present p
    cross join lateral (
        select j.job_type from jobs j
        where j.job_type > p.job_type
        order by j.job_type, j.status
        limit 1
    ) n
)
select coalesce(array_agg(p.job_type), '{}')
from present p
where not exists (
    select from jobs_retention r
    where r.status = _jobs_retention_types.status and r.job_type = p.job_type)
$$;

comment on function _jobs_retention_types is
    'internal: the types of all jobs that have no rule of their own for this status';

-- functions/manage: what an operator does
-- functions/manage/jobs_cancel.sql
-- Two sessions cannot both win: the row is locked before its status is read.
create or replace function jobs_cancel(
    job_id bigint,
    reason text default null,
    worker text default null,
    attempt int default null,
    downstream boolean default false
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_job jobs;
    v_by_worker boolean := worker is not null or attempt is not null;
    v_below bigint := 0;
begin
    if downstream then
        v_below := _jobs_flow_cancel(job_id, reason);
    end if;
    v_job := _jobs_lock(job_id);
    if v_by_worker then
        v_job := _jobs_lock_fenced(job_id, worker, attempt);
    end if;
    if v_job.status = 'cancelled' then
        return next v_job;
    elsif v_job.status in ('pending', 'blocked') or v_by_worker then
        return query
        update jobs j
        set status = 'cancelled',
            error = coalesce(reason, j.error),
            worker = null,
            lease_until = null,
            updated_at = clock_timestamp(),
            finished_at = clock_timestamp()
        where j.id = job_id
        returning j.*;
        perform _jobs_count_ends(array[job_id]);
        -- A job that waited for its retry may have held back its group.
        if exists (select from jobs_queues q where q.ends_free_places)
            or exists (select from jobs_watched w where w.job_id = jobs_cancel.job_id)
            or exists (select from jobs_flow_edges e where e.parent_id = jobs_cancel.job_id)
        then
            perform _jobs_free_places(array[job_id]), _jobs_tell_watchers(array[job_id]),
                _jobs_flow_ended(array[job_id]);
        end if;
    elsif v_job.status = 'processing' then
        return query
        update jobs j
        set cancel_requested_at = coalesce(j.cancel_requested_at, clock_timestamp()),
            error = coalesce(reason, j.error),
            updated_at = clock_timestamp()
        where j.id = job_id
        returning j.*;
        if pg_notification_queue_usage() < 0.5 then
            perform pg_notify(jobs_channel('jobs_cancel'), job_id::text);
        end if;
    else
        raise exception using errcode = 'JQ002',
            message = format('job %s is %s already', job_id, v_job.status);
    end if;
    -- A worker that ends what it holds does its work, and manages nothing.
    if not v_by_worker or v_below > 0 then
        perform _jobs_audit_note(
            'cancel', job_id,
            filters => case when downstream then jsonb_build_object('downstream', true) end,
            jobs => v_below + (v_job.status <> 'cancelled')::int, reason => reason);
    end if;
end
$$;

comment on function jobs_cancel is
    'pending, blocked -> cancelled; asks the worker of a processing job to cancel it; downstream: also'
    ' all that wait for it';

-- functions/manage/jobs_cancel_many.sql
-- Two sessions cannot both win: _jobs_lock_matching locks the rows, and skips locked ones. A job
-- that was asked before is not counted again, so that calls until 0 count each job once.
create or replace function jobs_cancel_many(
    job_ids bigint[] default null,
    job_types text[] default null,
    queues text[] default null,
    group_keys text[] default null,
    reference_type text default null,
    reference_id bigint default null,
    reference_key text default null,
    batch_id bigint default null,
    created_before timestamptz default null,
    failed_since timestamptz default null,
    max_jobs int default 10000,
    reason text default null,
    statuses text[] default null
) returns bigint
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_statuses constant text[] := '{pending,blocked,processing}';
    -- Of all ids one notification, as long as they fit into its 8,000 bytes.
    c_ids_of_a_notification constant int := 390;
    v_ids bigint[];
    v_waiting bigint[];
    v_running bigint[];
begin
    perform _jobs_check_filters(num_nonnulls(
        job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
        batch_id, created_before, failed_since, statuses));
    perform _jobs_check_statuses(statuses, c_statuses);
    v_ids := _jobs_lock_matching(
        coalesce(statuses, c_statuses), job_ids, job_types, queues, group_keys, reference_type,
        reference_id, reference_key, batch_id, created_before, failed_since, max_jobs,
        condition => '(j.status <> ''processing'' or j.cancel_requested_at is null)');
    -- `is true`: by an index of the status a planner without statistics would read all its jobs.
    with waiting as (
        update jobs j
        set status = 'cancelled',
            error = coalesce(reason, j.error),
            worker = null,
            lease_until = null,
            updated_at = clock_timestamp(),
            finished_at = clock_timestamp()
        where j.id = any (v_ids) and (j.status in ('pending', 'blocked')) is true
        returning j.id
    )
    select array(select w.id from waiting w) into v_waiting;
    perform _jobs_count_ends(v_waiting);
    with running as (
        update jobs j
        set cancel_requested_at = clock_timestamp(),
            error = coalesce(reason, j.error),
            updated_at = clock_timestamp()
        where j.id = any (v_ids) and (j.status = 'processing') is true
        returning j.id
    )
    select array(select r.id from running r order by r.id) into v_running;
    -- Jobs that waited for their retry may have held back their groups.
    if exists (select from jobs_queues q where q.ends_free_places)
        or exists (select from jobs_watched w where w.job_id = any (v_waiting))
        or exists (select from jobs_flow_edges e where e.parent_id = any (v_waiting))
    then
        perform _jobs_free_places(v_waiting), _jobs_tell_watchers(v_waiting),
            _jobs_flow_ended(v_waiting);
    end if;
    if pg_notification_queue_usage() < 0.5 then
        perform pg_notify(jobs_channel('jobs_cancel'), string_agg(r.id::text, ',' order by r.id))
        from unnest(v_running) with ordinality r(id, place)
        group by (r.place - 1) / c_ids_of_a_notification;
    end if;
    perform _jobs_audit_note(
        'cancel', jobs => cardinality(v_ids), reason => reason, filters => _jobs_filters(
            job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
            batch_id, created_before, failed_since)
            || jsonb_build_object('statuses', statuses));
    return cardinality(v_ids);
end
$$;

comment on function jobs_cancel_many is
    'cancels up to max_jobs jobs that pass the filters, and returns how many; repeat until 0';

-- functions/manage/jobs_cleanup.sql
-- Disturbs no other session: it deletes finished rows only, which no claim reads, and skips rows
-- that another session has locked. finished_before is for who calls this until it returns 0: with
-- older_than, each call would find the jobs that have become old enough since the call before.
create or replace function jobs_cleanup(
    older_than interval default '7 days',
    statuses text[] default '{completed}',
    max_jobs int default 100000,
    finished_before timestamptz default null
) returns bigint
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
    v_has_flows constant boolean := exists (select from jobs_flows f);
    v_before timestamptz;
    v_status text;
    v_ids bigint[];
    v_count bigint := 0;
begin
    perform _jobs_check_statuses(statuses, '{completed,failed,cancelled}');
    if not (older_than >= '0' and older_than <= '1000 years'
            and extract(year from older_than) between 0 and 1000) then
        raise exception using errcode = 'JQ003',
            message = format('older_than must be from 0 to 1000 years, not %s', older_than);
    end if;
    perform _jobs_check_max_jobs(max_jobs);
    v_before := least(finished_before,
                      _jobs_after(clock_timestamp(), -coalesce(older_than, '7 days')));
    for v_status in select distinct unnest(coalesce(statuses, '{completed}')) order by 1 loop
        v_ids := array(
            select j.id from jobs j
            where j.status = v_status and j.status <> 'pending' and j.finished_at < v_before
                and not (v_has_flows and _jobs_is_needed(j.id))
            order by j.finished_at
            limit coalesce(max_jobs, 100000) - v_count
            for update skip locked);
        delete from jobs j where j.id = any (v_ids);
        perform _jobs_forget(v_ids);
        v_count := v_count + cardinality(v_ids);
    end loop;
    perform _jobs_history_add_alone();
    perform _jobs_audit_note('cleanup', jobs => v_count, filters => jsonb_build_object(
        'statuses', coalesce(statuses, '{completed}'), 'finished_before', v_before));
    return v_count;
end
$$;

comment on function jobs_cleanup is
    'deletes up to max_jobs jobs finished longer ago than older_than; repeat until it returns 0';

-- functions/manage/jobs_copy.sql
-- Takes no lock: the copy is of the row as it is, also while the job runs. Whoever copies a job
-- begins anew, so the trace of the job's sender does not go on in the copy.
create or replace function jobs_copy(job_id bigint, payload jsonb default null) returns setof jobs
language plpgsql volatile security definer rows 1
set search_path from current
as $$
declare
    v_job jobs := _jobs_find(job_id);
    v_copy jobs;
begin
    select e.* into v_copy
    from jobs_enqueue(
        v_job.job_type, coalesce(jobs_copy.payload, v_job.payload), v_job.queue, v_job.priority,
        reference_type => v_job.reference_type, reference_id => v_job.reference_id,
        reference_key => v_job.reference_key, max_retries => v_job.max_retries,
        backoff => v_job.backoff, group_key => v_job.group_key,
        headers => nullif(v_job.headers - '{traceparent,tracestate}'::text[], '{}')) e;
    perform _jobs_audit_note('copy', job_id, jobs => 1, filters => jsonb_build_object(
        'copy', v_copy.id,
        'fields', case when jobs_copy.payload is not null then '{payload}'::text[] end));
    return next v_copy;
end
$$;

comment on function jobs_copy is
    'a new job like this one, due now, without its unique_key; payload: another one';

-- functions/manage/jobs_delete_many.sql
-- Disturbs no other session: it deletes ended jobs only, which no claim reads, and skips rows that
-- another session has locked, and those that a job which has not ended may read as its parents.
-- finished_before is for who calls this until it returns 0: jobs that end meanwhile stay.
create or replace function jobs_delete_many(
    job_ids bigint[] default null,
    job_types text[] default null,
    queues text[] default null,
    group_keys text[] default null,
    reference_type text default null,
    reference_id bigint default null,
    reference_key text default null,
    batch_id bigint default null,
    created_before timestamptz default null,
    failed_since timestamptz default null,
    max_jobs int default 10000,
    statuses text[] default null,
    finished_before timestamptz default null
) returns bigint
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_statuses constant text[] := '{completed,failed,cancelled}';
    v_condition constant text := concat_ws(' and ',
        case when finished_before is not null
            then format('j.finished_at < %L::timestamptz', finished_before) end,
        case when exists (select from jobs_flows f) then 'not _jobs_is_needed(j.id)' end,
        'true');
    v_ids bigint[];
begin
    perform _jobs_check_filters(num_nonnulls(
        job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
        batch_id, created_before, failed_since, statuses, finished_before));
    perform _jobs_check_statuses(statuses, c_statuses);
    v_ids := _jobs_lock_matching(
        coalesce(statuses, c_statuses), job_ids, job_types, queues, group_keys, reference_type,
        reference_id, reference_key, batch_id, created_before, failed_since, max_jobs, condition => v_condition);
    delete from jobs j where j.id = any (v_ids);
    perform _jobs_forget(v_ids);
    perform _jobs_audit_note(
        'delete', jobs => cardinality(v_ids), filters => _jobs_filters(
            job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
            batch_id, created_before, failed_since)
            || jsonb_build_object('statuses', statuses, 'finished_before', finished_before));
    return cardinality(v_ids);
end
$$;

comment on function jobs_delete_many is
    'deletes up to max_jobs ended jobs that pass the filters; repeat until 0';

-- functions/manage/jobs_edit.sql
-- Two sessions cannot both win: the row is locked before its status is read. A claim skips the row
-- while it is locked; an edit that has waited for a claim finds the job processing, and raises.
create or replace function jobs_edit(
    job_id bigint,
    payload jsonb default null,
    priority int default null,
    queue text default null,
    run_at timestamptz default null
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_before jobs := _jobs_lock(jobs_edit.job_id);
    v_after jobs;
begin
    if v_before.status not in ('pending', 'blocked') then
        raise exception using errcode = 'JQ002',
            message = format('job %s is %s: only a job that waits can be edited', v_before.id,
                             v_before.status),
            hint = 'To run it with other values, copy it: jobs_copy.';
    end if;
    perform _jobs_check_job(
        v_before.job_type, jobs_edit.queue, jobs_edit.priority, jobs_edit.run_at,
        reference_type => null, max_retries => null, unique_key => null, unique_scope => null,
        backoff => null, reference_key => null, group_key => null, headers => null,
        expires_at => null);
    -- Others of its group may have waited for this job: they have their turn in the old queue.
    if v_before.group_key is not null then
        perform _jobs_free_places(array[v_before.id]);
    end if;
    update jobs j
    set payload = coalesce(jobs_edit.payload, j.payload),
        priority = coalesce(jobs_edit.priority, j.priority),
        queue = coalesce(jobs_edit.queue, j.queue),
        run_at = coalesce(jobs_edit.run_at, j.run_at),
        updated_at = clock_timestamp()
    where j.id = v_before.id
    returning j.* into v_after;
    -- Workers that sleep know the old place and moment; a later moment they find by themselves.
    if v_after.run_at < v_before.run_at
        or (v_after.queue, v_after.priority) is distinct from (v_before.queue, v_before.priority)
    then
        perform _jobs_signal_jobs(array[v_after.id]);
    end if;
    perform _jobs_audit_note(
        'edit', v_after.id, jobs => 1, filters => jsonb_build_object('fields', array_remove(array[
            case when jobs_edit.payload is not null then 'payload' end,
            case when jobs_edit.priority is not null then 'priority' end,
            case when jobs_edit.queue is not null then 'queue' end,
            case when jobs_edit.run_at is not null then 'run_at' end], null)));
    return next v_after;
end
$$;

comment on function jobs_edit is
    'changes what is given of a pending or blocked job: payload, priority, queue, run_at';

-- functions/manage/jobs_edit_many.sql
-- Two sessions cannot both win: _jobs_lock_matching locks the rows, and skips locked ones. A job
-- that has these values already is left out, so that calls until 0 count each job once. due_after
-- is for who makes jobs due: those that are due already keep their places.
create or replace function jobs_edit_many(
    set_priority int default null,
    set_queue text default null,
    set_run_at timestamptz default null,
    job_ids bigint[] default null,
    job_types text[] default null,
    queues text[] default null,
    group_keys text[] default null,
    reference_type text default null,
    reference_id bigint default null,
    reference_key text default null,
    batch_id bigint default null,
    created_before timestamptz default null,
    failed_since timestamptz default null,
    max_jobs int default 10000,
    statuses text[] default null,
    due_after timestamptz default null
) returns bigint
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_statuses constant text[] := '{pending,blocked}';
    v_ids bigint[];
    v_in_groups bigint[];
begin
    perform _jobs_check_filters(num_nonnulls(
        job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
        batch_id, created_before, failed_since, statuses, due_after));
    perform _jobs_check_statuses(statuses, c_statuses);
    if num_nonnulls(set_priority, set_queue, set_run_at) = 0 then
        raise exception using errcode = 'JQ003',
            message = 'nothing to change is given: set_priority, set_queue or set_run_at';
    end if;
    perform _jobs_check_job(
        'any', set_queue, set_priority, set_run_at, reference_type => null, max_retries => null,
        unique_key => null, unique_scope => null, backoff => null, reference_key => null,
        group_key => null, headers => null, expires_at => null);
    v_ids := _jobs_lock_matching(
        coalesce(statuses, c_statuses), job_ids, job_types, queues, group_keys, reference_type,
        reference_id, reference_key, batch_id, created_before, failed_since, max_jobs,
        condition => format('(j.priority, j.queue, j.run_at) is distinct from ('
                                'coalesce(%L::int, j.priority), coalesce(%L, j.queue), '
                                'coalesce(%L::timestamptz, j.run_at))',
                            set_priority, set_queue, set_run_at),
        due_after => due_after);
    -- Others of their groups may have waited for these jobs: they have turns in the old queue.
    v_in_groups := array(
        select j.id from jobs j where j.id = any (v_ids) and j.group_key is not null);
    if v_in_groups <> '{}' then
        perform _jobs_free_places(v_in_groups);
    end if;
    update jobs j
    set priority = coalesce(set_priority, j.priority),
        queue = coalesce(set_queue, j.queue),
        run_at = coalesce(set_run_at, j.run_at),
        updated_at = clock_timestamp()
    where j.id = any (v_ids);
    perform _jobs_signal_jobs(v_ids);
    perform _jobs_audit_note(
        'edit', jobs => cardinality(v_ids), filters => _jobs_filters(
            job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
            batch_id, created_before, failed_since)
            || jsonb_build_object('statuses', statuses, 'due_after', due_after)
            || jsonb_build_object('fields', array_remove(array[
                case when set_priority is not null then 'priority' end,
                case when set_queue is not null then 'queue' end,
                case when set_run_at is not null then 'run_at' end], null)));
    return cardinality(v_ids);
end
$$;

comment on function jobs_edit_many is
    'changes up to max_jobs pending or blocked jobs that pass the filters; repeat until 0';

-- functions/manage/jobs_grant.sql
-- Which role may call what. tests/sql/test_grants.py compares this list with all functions.
-- Roles add up: a worker whose handlers enqueue further jobs is a producer too. To take everything
-- back: `revoke all on all functions in schema ... from role`, and the same for tables.
create or replace function jobs_grant(role_name text, as_what text) returns void
language plpgsql volatile
set search_path from current
as $$
declare
    c_producer constant text[] := '{_jobs_enqueue_together,_jobs_is_new,jobs_enqueue,'
        'jobs_enqueue_many,jobs_batch,jobs_batch_close,jobs_watch}';
    c_reader constant text[] := '{jobs_attempts,jobs_batches,jobs_outcomes,jobs_parents,jobs_watch}';
    c_worker constant text[] := c_reader || '{jobs_cancel,jobs_claim,_jobs_claimed,jobs_complete,'
        'jobs_complete_many,jobs_fail,jobs_fail_many,_jobs_flow_attach,_jobs_flow_pending,'
        '_jobs_flow_resolve,jobs_heartbeat,jobs_next_due,_jobs_next_due,jobs_progress,'
        '_jobs_reconcile,_jobs_complete_uncounted,_jobs_end_attempts,_jobs_note_ends,'
        'jobs_recover,_jobs_recover_own,jobs_release_many,_jobs_limits_diff,_jobs_retention_diff,'
        '_jobs_retention_enforce,jobs_schedules_fire,'
        '_jobs_schedules_diff,jobs_start,_jobs_worker_beat,_jobs_worker_fire,_jobs_worker_help,'
        '_jobs_worker_mode,jobs_worker_start,jobs_worker_stop,_jobs_worker_tick,_jobs_worker_watch}';
    c_observer constant text[] := '{jobs_audit,_jobs_audit_search,jobs_batches,jobs_counts,'
        '_jobs_counts,jobs_cron_next,jobs_doctor,_jobs_doctor_flows,_jobs_doctor_held,'
        '_jobs_doctor_history,_jobs_doctor_leases,_jobs_doctor_limits,'
        '_jobs_doctor_notify,_jobs_doctor_retention,_jobs_doctor_schedules,_jobs_doctor_schema,'
        '_jobs_doctor_vacuum,_jobs_doctor_workers,_jobs_held_back,_jobs_ids_behind,jobs_list,'
        '_jobs_objects_of_strangers,jobs_durations,jobs_history,_jobs_totals,jobs_queues,'
        'jobs_quantile,_jobs_rates,_jobs_recent_ends,jobs_retention,jobs_schedule_list,'
        'jobs_schedule_preview,_jobs_search,jobs_stats,_jobs_waiting_groups,_jobs_worker_modes,'
        'jobs_worker_ticks,jobs_why,jobs_workers}';
    c_admin constant text[] := c_observer || c_reader || '{jobs,jobs_batch_close,jobs_cancel,'
        'jobs_cancel_many,jobs_cleanup,jobs_copy,jobs_delete_many,jobs_edit,jobs_edit_many,'
        '_jobs_error_line,_jobs_failures,jobs_flow_edges,jobs_flows,'
        'jobs_heal_groups,jobs_limit,_jobs_limits_declare,_jobs_limits_diff,'
        '_jobs_limits_undeclare,jobs_pause,jobs_recover,jobs_resume,jobs_retain,'
        '_jobs_retention_declare,_jobs_retention_diff,jobs_retry,jobs_retry_many,jobs_schedule,'
        'jobs_schedule_pause,jobs_schedule_resume,jobs_schedule_run,jobs_schedules,'
        '_jobs_schedules_declare,_jobs_schedules_diff,jobs_schedules_fire,jobs_unschedule}';
    v_schema constant text := current_schema();
    v_owner constant oid := (select c.relowner from pg_class c where c.oid = 'jobs'::regclass);
    v_names text[] := case as_what when 'producer' then c_producer when 'worker' then c_worker
        when 'observer' then c_observer when 'admin' then c_admin when 'reader' then c_reader end;
    v_objects text;
    v_grant text;
begin
    if v_names is null then
        raise exception using errcode = 'JQ003',
            message = format('as_what must be producer, worker, observer, admin or reader, not '
                             '%s',
                             coalesce(left(as_what, 100), 'null'));
    end if;
    if not exists (select from pg_roles r where r.rolname = role_name) then
        raise exception using errcode = 'JQ003',
            message = format('role_name: there is no role %s',
                             coalesce(quote_ident(left(role_name, 100)), 'null')),
            hint = 'Make it first: create role ... login.';
    end if;
    if not pg_has_role(current_user, v_owner, 'usage') then
        raise exception using errcode = 'insufficient_privilege',
            message = format('only %s, the owner of jobs, may grant', v_owner::regrole);
    end if;
    -- Our functions run as their owner and use what they find in the schema. So a role that may
    -- create objects there, or may become such a role, could act as the owner. A role that may
    -- become the owner is let through.
    if not pg_has_role(role_name, v_owner, 'member') and exists (
        select from pg_roles r
        where pg_has_role(role_name, r.oid, 'member')
            and has_schema_privilege(r.oid, v_schema, 'create')
            and not pg_has_role(r.oid, v_owner, 'member'))
    then
        raise exception using errcode = 'JQ003',
            message = format('%I may create objects in schema %I, and could thereby act as %s',
                             role_name, v_schema, v_owner::regrole),
            hint = format('Revoke it (revoke create on schema %I from public, %I), or install into '
                          'a schema of its own, by --schema.', v_schema, role_name);
    end if;
    v_objects := _jobs_objects_of_strangers(v_schema, v_owner);
    if v_objects is not null then
        raise exception using errcode = 'JQ005',
            message = format('schema %I holds objects of other roles, which the functions of pgjobs '
                             'might run as %s, and nothing was granted: %s', v_schema,
                             v_owner::regrole, v_objects),
            hint = format('Drop them, or give them to %s (alter ... owner to), or install into a '
                          'schema of its own, by --schema.', v_owner::regrole);
    end if;

    for v_grant in
        select format('usage on schema %I', v_schema)
        where not has_schema_privilege(role_name, v_schema, 'usage')
        union all
        select format('execute on function %s', p.oid::regprocedure)
        from pg_proc p
        where p.pronamespace = quote_ident(v_schema)::regnamespace
            and p.proname = any (v_names || '{_jobs_after,jobs_channel,jobs_version}'::text[])
        union all
        select format('select on %s', c.oid::regclass)
        from pg_class c
        where c.relnamespace = quote_ident(v_schema)::regnamespace and c.relkind in ('r', 'v')
            and c.relname = any (v_names)
    loop
        execute format('grant %s to %I', v_grant, role_name);
    end loop;
    perform _jobs_audit_note('grant', filters => jsonb_build_object(
        'role_name', role_name, 'as_what', as_what));
end
$$;

comment on function jobs_grant is
    'lets a role enqueue (producer), run jobs (worker), look on (observer), manage (admin) or read'
    ' outcomes (reader)';

-- functions/manage/jobs_heal_groups.sql
-- A claim reaches the jobs of a group by the group's turns alone. A turn is missing where jobs were
-- changed by hand, or were inserted while triggers were disabled. Two sessions may both insert the
-- turns of a group: one turn too many is one look too many.
create or replace function jobs_heal_groups(max_groups int default 10000) returns bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    v_max_groups constant int := coalesce(jobs_heal_groups.max_groups, 10000);
    v_queues text[];
    v_groups bigint;
begin
    if v_max_groups < 1 then
        raise exception using errcode = 'JQ003',
            message = format('max_groups must be 1 or more, not %s', v_max_groups);
    end if;
    -- The transaction's number before the moment of its turns: see _jobs_raise_turns_from.
    perform pg_current_xact_id();
    with missing as materialized (
        select m.queue, m.group_key, m.job_type
        from (
            select w.*, dense_rank() over (order by w.queue, w.group_key) as place
            from _jobs_groups_without_turn(2147483647) w
        ) m
        where m.place <= v_max_groups
    ), turn as (
        insert into jobs_turns (queue, group_key, job_type, turn_at)
        select m.queue, m.group_key, m.job_type, clock_timestamp() from missing m
    )
    select array_agg(distinct m.queue), count(distinct (m.queue, m.group_key))
    into v_queues, v_groups
    from missing m;
    if v_queues is not null then
        perform _jobs_flag_groups(v_queues);
        perform _jobs_signal(q.queue, '-infinity', jobs => 16) from unnest(v_queues) q(queue);
    end if;
    return v_groups;
end
$$;

comment on function jobs_heal_groups is
    'gives a turn to up to max_groups groups with pending jobs that have none; returns how many:'
    ' repeat until 0';

-- functions/manage/jobs_pause.sql
-- To pause a paused queue again sets the end and the reason anew, and keeps since when it is
-- paused. A pause whose end has come counts as none.
create or replace function jobs_pause(
    queue text,
    until timestamptz default null,
    reason text default null
) returns setof jobs_queues
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    v_now timestamptz := clock_timestamp();
begin
    perform _jobs_check_queue(jobs_pause.queue);
    if not (jobs_pause.until > v_now and jobs_pause.until < '9999-12-31 00:00:00+00') then
        raise exception using errcode = 'JQ003',
            message = format('until must be later than now, and before the year 9999, not %s',
                             jobs_pause.until);
    end if;
    if octet_length(jobs_pause.reason) > 1000 then
        raise exception using errcode = 'JQ003', message = 'reason must have at most 1000 bytes';
    end if;
    return query
    insert into jobs_queues as q (queue, paused_at, paused_until, pause_reason)
    values (jobs_pause.queue, v_now, jobs_pause.until, nullif(jobs_pause.reason, ''))
    on conflict (queue) do update
    set paused_at = case when q.paused_until <= v_now then excluded.paused_at
            else coalesce(q.paused_at, excluded.paused_at) end,
        paused_until = excluded.paused_until,
        pause_reason = excluded.pause_reason
    returning q.*;
    if jobs_pause.until is not null then
        -- Each worker of the queue ticks, and learns when the pause ends.
        perform _jobs_signal(jobs_pause.queue, '-infinity', jobs => 16);
    end if;
    perform _jobs_audit_note('pause', reason => jobs_pause.reason, filters => jsonb_build_object(
        'queue', jobs_pause.queue, 'until', jobs_pause.until));
end
$$;

comment on function jobs_pause is
    'pauses a queue: claims skip it until that moment, or until jobs_resume; running jobs finish';

-- functions/manage/jobs_resume.sql
create or replace function jobs_resume(queue text) returns setof jobs_queues
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
begin
    perform _jobs_check_queue(jobs_resume.queue);
    return query
    insert into jobs_queues as q (queue, paused_at)
    values (jobs_resume.queue, null)
    on conflict (queue) do update
    set paused_at = null, paused_until = null, pause_reason = null
    returning q.*;
    perform _jobs_signal(jobs_resume.queue, '-infinity', jobs => 16);
    perform _jobs_audit_note('resume', filters => jsonb_build_object('queue', jobs_resume.queue));
end
$$;

comment on function jobs_resume is 'opens a paused queue again and wakes its workers';

-- functions/manage/jobs_retry.sql
-- Two sessions cannot both win: the row is locked before its status is read, and the unique index
-- decides which job holds a key.
create or replace function jobs_retry(job_id bigint) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_job jobs := _jobs_lock(job_id);
begin
    if v_job.status in ('pending', 'processing', 'blocked') then
        raise exception using errcode = 'JQ002',
            message = format('job %s is %s already', job_id, v_job.status);
    end if;
    -- No `return query` in this block: its row would survive the error.
    begin
        select p.* into v_job from _jobs_make_pending(array[job_id]) p;
    exception
        when unique_violation then
            raise exception using errcode = 'JQ004',
                message = format('job %s cannot be retried: another %s job holds its unique_key %L',
                                 job_id, v_job.job_type, v_job.unique_key);
    end;
    perform _jobs_signal_jobs(array[job_id]);
    perform _jobs_audit_note('retry', job_id, jobs => 1);
    return next v_job;
end
$$;

comment on function jobs_retry is
    'a failed, cancelled or completed job -> pending now, with its counts at 0';

-- functions/manage/jobs_retry_many.sql
-- Two sessions cannot both win: _jobs_lock_matching locks the rows and skips locked ones. This
-- function may wait for a session that takes the same key. All who take several keys take them in the order of type
-- and key, so that they never deadlock. failed_before is for who calls this until it returns 0: a
-- job that fails again meanwhile would be retried again and again.
create or replace function jobs_retry_many(
    job_types text[] default null,
    queues text[] default null,
    failed_since timestamptz default null,
    max_jobs int default 10000,
    job_ids bigint[] default null,
    group_keys text[] default null,
    reference_type text default null,
    reference_id bigint default null,
    reference_key text default null,
    batch_id bigint default null,
    created_before timestamptz default null,
    failed_before timestamptz default null
) returns bigint
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_keyless bigint[];
    v_keyed bigint[];
    v_ids bigint[];
begin
    -- Jobs whose key another job holds are left out, and do not use up max_jobs.
    v_ids := _jobs_lock_matching(
        '{failed}', job_ids, job_types, queues, group_keys, reference_type, reference_id,
        reference_key, batch_id, created_before, failed_since, max_jobs,
        condition => format('(%1$L::timestamptz is null or j.finished_at < %1$L) and ', failed_before)
            || $condition$
            (j.unique_key is null or j.unique_scope in ('kept', 'period') or not exists (
                select from jobs o
                where o.job_type = j.job_type and o.unique_key = j.unique_key and o.id <> j.id
                    and (case when o.unique_scope <> 'pending' or o.status in ('pending', 'blocked')
                         then 0 else o.id end) = 0
                    and (o.unique_scope <> 'live' or o.finished_at is null)))$condition$);
    with found as materialized (
        select j.id, j.job_type, j.unique_key from jobs j where j.id = any (v_ids)
    ), keyed as (
        select distinct on (f.job_type, f.unique_key) f.job_type, f.unique_key, f.id
        from found f
        where f.unique_key is not null
        order by f.job_type, f.unique_key, f.id
    )
    select array(select f.id from found f where f.unique_key is null order by f.id),
        array(select k.id from keyed k order by k.job_type, k.unique_key)
    into v_keyless, v_keyed;
    perform from _jobs_make_pending(v_keyless);
    v_ids := v_keyless || _jobs_retry_keyed(v_keyed);
    perform _jobs_signal_jobs(v_ids);
    perform _jobs_audit_note(
        'retry', jobs => cardinality(v_ids), filters => _jobs_filters(
            job_ids, job_types, queues, group_keys, reference_type, reference_id, reference_key,
            batch_id, created_before, failed_since)
            || jsonb_build_object('failed_before', failed_before));
    return cardinality(v_ids);
end
$$;

comment on function jobs_retry_many is
    'failed jobs whose unique_key is free -> pending now; returns how many';

-- functions/manage/jobs_version.sql
create or replace function jobs_version() returns text
language sql immutable
set search_path from current
return '0.1.0';

comment on function jobs_version is 'which release of pgjobs made these functions';

-- functions/manage/_jobs_audit_expire.sql
-- Two sessions cannot both delete a row: the second one skips locked rows. The first ids are of the
-- oldest rows, so where none is old a tick pays one look into the primary key.
--
-- Workers do this, as they delete what else is over: jobs_cleanup runs only where somebody calls it,
-- and to delete in the managing functions would keep old rows until the next call.
create or replace function _jobs_audit_expire(max_rows int) returns bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    c_max_looked_at constant int := 20;
    c_kept_for constant interval := '400 days';
    v_before constant timestamptz := clock_timestamp() - c_kept_for;
    v_deleted bigint := 0;
begin
    -- Not the first row alone: a clock may have been ahead.
    if exists (select from (select a.at from jobs_audit a order by a.id limit c_max_looked_at) a
               where a.at < v_before) then
        delete from jobs_audit a
        where a.at < v_before and a.id = any (array(
            select o.id from jobs_audit o order by o.id limit max_rows for update skip locked));
        get diagnostics v_deleted = row_count;
    end if;
    return v_deleted;
end
$$;

comment on function _jobs_audit_expire is
    'internal: deletes up to max_rows rows of jobs_audit that are older than 400 days';

-- functions/manage/_jobs_audit_note.sql
-- Notes in the caller's transaction who has called a managing function: a call that is rolled back
-- leaves no row. jobs: how many jobs the call has changed; null: it was not about jobs. A call that
-- changed none leaves no row either, so that calls until 0 leave one row for each batch.
--
-- The managing functions act as their owner, so current_user would name the owner. Two names are
-- kept, because each can be the person: db_role is who has logged in, which nobody but a superuser
-- can change, and set_role is who `set role` chose, as a pooler does that logs in for everybody.
-- actor is what the program says.
--
-- Of a long list the first elements are kept, and how many there were (job_ids_in_all).
create or replace function _jobs_audit_note(
    action text,
    job_id bigint default null,
    filters jsonb default null,
    jobs bigint default null,
    reason text default null
) returns void
language plpgsql volatile
set search_path from current
as $$
declare
    c_max_elements constant int := 20;
    c_max_text_characters constant int := 512;
    c_max_actor_characters constant int := 200;
    c_max_reason_characters constant int := 1000;
    v_told jsonb;
begin
    if jobs = 0 then
        return;
    end if;
    select jsonb_object_agg(t.name, t.value) into v_told
    from jsonb_each(jsonb_strip_nulls(filters)) f(name, value)
    cross join lateral (
        select f.name, case jsonb_typeof(f.value)
            when 'array' then (
                select jsonb_agg(case jsonb_typeof(e.value)
                    when 'number' then e.value
                    else to_jsonb(left(e.value #>> '{}', c_max_text_characters)) end
                    order by e.place)
                from jsonb_array_elements(f.value) with ordinality e(value, place)
                where e.place <= c_max_elements)
            when 'string' then to_jsonb(left(f.value #>> '{}', c_max_text_characters))
            else f.value end as value
        union all
        select f.name || '_in_all', to_jsonb(jsonb_array_length(f.value))
        where case jsonb_typeof(f.value) when 'array'
            then jsonb_array_length(f.value) > c_max_elements end
    ) t;
    insert into jobs_audit (job_id, jobs, db_role, set_role, actor, action, filters, reason)
    values (
        _jobs_audit_note.job_id, _jobs_audit_note.jobs, session_user,
        nullif(nullif(current_setting('role'), 'none'), session_user),
        nullif(regexp_replace(left(current_setting('pgjobs.actor', true), c_max_actor_characters),
                              '[[:cntrl:]]', ' ', 'g'), ''),
        _jobs_audit_note.action, v_told,
        nullif(left(_jobs_audit_note.reason, c_max_reason_characters), ''));
end
$$;

comment on function _jobs_audit_note is
    'internal: notes in jobs_audit who has called a managing function, and for what';

-- functions/manage/_jobs_check_filters.sql
-- filters: how many are given. Without one the call would mean all jobs, which nobody says by
-- leaving something out.
create or replace function _jobs_check_filters(filters int) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if filters = 0 then
        raise exception using errcode = 'JQ003',
            message = 'no filter is given, and nothing was changed: say which jobs, for example by '
                'job_types or queues';
    end if;
end
$$;

comment on function _jobs_check_filters is
    'internal: refuses a call for many jobs without a filter';

-- functions/manage/_jobs_check_max_jobs.sql
create or replace function _jobs_check_max_jobs(max_jobs int) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if max_jobs < 0 then
        raise exception using errcode = 'JQ003',
            message = format('max_jobs must be 0 or more, not %s', max_jobs);
    end if;
end
$$;

comment on function _jobs_check_max_jobs is 'internal: refuses a negative number of jobs';

-- functions/manage/_jobs_check_queue.sql
create or replace function _jobs_check_queue(queue text) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if coalesce(octet_length(queue), 0) not between 1 and 512 then
        raise exception using errcode = 'JQ003', message = 'queue must have 1 to 512 bytes';
    end if;
end
$$;

comment on function _jobs_check_queue is 'internal: raises if a queue''s name is invalid';

-- functions/manage/_jobs_check_statuses.sql
create or replace function _jobs_check_statuses(statuses text[], allowed text[]) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if array_ndims(statuses) > 1 or array_position(statuses, null) is not null
        or not statuses <@ allowed
    then
        raise exception using errcode = 'JQ003',
            message = format('statuses must be among %s and %s, not %s',
                             array_to_string(allowed[:cardinality(allowed) - 1], ', '),
                             allowed[cardinality(allowed)], left(statuses::text, 100));
    end if;
end
$$;

comment on function _jobs_check_statuses is
    'internal: refuses statuses that a call for many jobs does not take';

-- functions/manage/_jobs_declared.sql
-- declared: what the row held so far, or null. The hashes of the last 100 definitions before this
-- one stay, so that older code that restarts is known as such.
create or replace function _jobs_declared(
    app text,
    definition jsonb,
    at timestamptz,
    declared jsonb
) returns jsonb
language sql immutable
set search_path from current
return jsonb_build_object(
    'app', app, 'at', at, 'definition', definition,
    'former', jsonb_path_query_array(
        coalesce(declared -> 'former', '[]') - md5(definition::text)
            || coalesce(to_jsonb(md5((declared -> 'definition')::text)), '[]'),
        '$[last - 99 to last]'));

comment on function _jobs_declared is
    'internal: what a row keeps of the code that declared it';

-- functions/manage/_jobs_filters.sql
create or replace function _jobs_filters(
    job_ids bigint[],
    job_types text[],
    queues text[],
    group_keys text[],
    reference_type text,
    reference_id bigint,
    reference_key text,
    batch_id bigint,
    created_before timestamptz,
    failed_since timestamptz
) returns jsonb
language sql stable
set search_path from current
return jsonb_build_object(
    'job_ids', job_ids, 'job_types', job_types, 'queues', queues, 'group_keys', group_keys,
    'reference_type', reference_type, 'reference_id', reference_id, 'reference_key', reference_key,
    'batch_id', batch_id, 'created_before', created_before, 'failed_since', failed_since);

comment on function _jobs_filters is
    'internal: the filters of a call for many jobs, for jobs_audit';

-- functions/manage/_jobs_find.sql
create or replace function _jobs_find(job_id bigint) returns jobs
language plpgsql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_job jobs;
begin
    if job_id is null then
        raise exception using errcode = 'JQ003', message = 'job_id is missing';
    end if;
    select j.* into v_job from jobs j where j.id = job_id;
    if not found then
        raise exception using errcode = 'JQ001', message = format('there is no job %s', job_id);
    end if;
    return v_job;
end
$$;

comment on function _jobs_find is
    'internal: returns a job without a lock, or raises if it is missing';

-- functions/manage/_jobs_forget.sql
-- For jobs that the caller has just deleted: what other tables hold of them goes too. A row of a flow
-- that another session has locked stays, and so does that of a job whose parents were kept for it:
-- _jobs_flow_tidy deletes these. So nothing waits here.
create or replace function _jobs_forget(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_flows bigint[];
begin
    delete from jobs_attempts a where a.job_id = any (job_ids);
    -- Without flows this is one probe, not one for each job.
    if exists (select from jobs_flows f) then
        v_flows := array(
            select f.job_id from jobs_flows f
            where f.job_id = any (job_ids) and not f.keeps_parents
            for update skip locked);
        delete from jobs_flow_edges e where e.child_id = any (v_flows);
        delete from jobs_flows f where f.job_id = any (v_flows);
    end if;
end
$$;

comment on function _jobs_forget is
    'internal: deletes the attempts and flows of jobs that are gone';

-- functions/manage/_jobs_lock_matching.sql
-- Locks up to max_jobs jobs that have one of these statuses and pass all filters, and returns their
-- ids in order; the filters that are null are left out. Two sessions cannot both win a job: the
-- second skips locked rows, and a row that has changed is compared again after the lock. Nothing
-- waits, so nothing deadlocks.
--
-- Each filter that has an index leads to its jobs. Without one, each status is a range of an index:
-- pending jobs queue by queue, others in the order of their ends. The other filters pass over rows
-- of that range. `offset 0` and the orders make the planner take the right index, whatever the
-- statistics say.
--
-- The statement is put together from constant parts. condition is put together by the caller, of
-- constants and quoted literals.
create or replace function _jobs_lock_matching(
    statuses text[],
    job_ids bigint[],
    job_types text[],
    queues text[],
    group_keys text[],
    reference_type text,
    reference_id bigint,
    reference_key text,
    batch_id bigint,
    created_before timestamptz,
    failed_since timestamptz,
    max_jobs int,
    condition text default 'true',
    due_after timestamptz default null
) returns bigint[]
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    c_columns constant text := 'j.id, j.status, j.job_type, j.queue, j.group_key, '
        'j.reference_type, j.reference_id, j.reference_key, j.batch_id, j.created_at, '
        'j.finished_at, j.run_at';
    v_path text;
    v_filters text;
    v_ids bigint[];
begin
    perform _jobs_check_max_jobs(max_jobs);
    v_filters := concat_ws(' and ', 'p.status = any ($1)',
        case when job_ids is not null then 'p.id = any ($2)' end,
        case when job_types is not null then 'p.job_type = any ($3)' end,
        case when queues is not null then 'p.queue = any ($4)' end,
        case when group_keys is not null then 'p.group_key = any ($5)' end,
        case when reference_type is not null then 'p.reference_type = $6' end,
        case when reference_id is not null then 'p.reference_id = $7' end,
        case when reference_key is not null then 'p.reference_key = $8' end,
        case when batch_id is not null then 'p.batch_id = $9' end,
        case when created_before is not null then 'p.created_at < $10' end,
        case when failed_since is not null
            then 'p.status = ''failed'' and p.finished_at >= $11' end,
        case when due_after is not null then 'p.run_at > $13' end);
    v_path := case
        when job_ids is not null then 'select %s from jobs j where j.id = any ($2)'
        -- As long as the batch's callback has a row.
        when exists (select from jobs_flows f where f.job_id = batch_id)
            then 'select %s from jobs_flow_edges e join jobs j on j.id = e.parent_id'
                ' where e.child_id = $9'
        when reference_type is not null and reference_id is not null
            then 'select %s from jobs j where j.reference_type = $6'
                ' and j.reference_id between $7 and $7 order by j.reference_id'
        when reference_type is not null and reference_key is not null
            then 'select %s from jobs j where j.reference_type = $6'
                ' and j.reference_key between $8 and $8 order by j.reference_key'
        when reference_id is not null then 'select %s from jobs j where j.reference_id = $7'
        when reference_type is not null then 'select %s from jobs j where j.reference_type = $6'
        when group_keys is not null and statuses <@ '{pending,processing,blocked}'
            then 'select %s from (select q.queue from _jobs_queues_of_groups() q(queue)) q'
                ' cross join (select distinct unnest($5) as group_key) g'
                ' cross join lateral (select * from jobs j where j.queue = q.queue'
                ' and j.group_key = g.group_key and j.group_key is not null'
                ' and j.finished_at is null offset 0) j'
        when job_types is not null
            then 'select %s from (select distinct unnest($1) as status) s'
                ' cross join (select distinct unnest($3) as job_type) t'
                ' cross join lateral (select * from jobs j where j.status = s.status'
                ' and j.job_type = t.job_type order by j.finished_at offset 0) j'
        else concat_ws(' union all ',
            case when 'pending' = any (statuses) and queues is not null
                    then 'select %1$s from (select distinct unnest($4) as queue) q'
                        ' cross join lateral ((select * from jobs j where j.status = ''pending'''
                        ' and j.group_key is null and j.queue = q.queue'
                        ' order by j.priority, j.job_type, j.run_at, j.id)'
                        ' union all (select * from jobs j where j.group_key is not null'
                        ' and j.finished_at is null and j.queue = q.queue'
                        ' and j.status = ''pending'' order by j.group_key, j.status)) j'
                when 'pending' = any (statuses)
                    then '(select %1$s from jobs j where j.status = ''pending'''
                        ' and j.group_key is null'
                        ' order by j.queue, j.priority, j.job_type, j.run_at, j.id)'
                        ' union all (select %1$s from jobs j where j.group_key is not null'
                        ' and j.finished_at is null and j.status = ''pending'''
                        ' order by j.queue, j.group_key, j.status)' end,
            'select %1$s from (select distinct unnest(array_remove($1, ''pending'')) as status) s'
            ' cross join lateral (select * from jobs j where j.status = s.status'
            ' and j.status <> ''pending''' ||
            case when failed_since is not null then ' and j.finished_at >= $11' else '' end ||
            ' order by j.finished_at offset 0) j') end;
    -- What another session has changed meanwhile is compared again with status and condition.
    execute format(
        'select array(select l.id from ('
            'select j.id from (select p.id from (%s offset 0) p where %s) f'
            ' join jobs j on j.id = f.id where j.status = any ($1) and %s'
            ' and ($13 is null or j.run_at > $13)'
            ' limit $12 for no key update of j skip locked) l)',
        format(v_path, c_columns), v_filters, condition)
    into v_ids
    using statuses, job_ids, job_types, queues, group_keys, reference_type, reference_id,
        reference_key, batch_id, created_before, failed_since, coalesce(max_jobs, 10000), due_after;
    return array(select i.id from unnest(v_ids) i(id) order by i.id);
end
$$;

comment on function _jobs_lock_matching is
    'internal: locks jobs that pass these filters, and returns their ids';

-- functions/manage/_jobs_make_pending.sql
-- For jobs that the caller has locked and found to have ended. A retry by hand does not expire: who
-- asks for it wants the job to run. A job that has never run and whose parents have not all ended
-- waits for them again. Raises unique_violation where another job holds the key of one of them.
create or replace function _jobs_make_pending(job_ids bigint[]) returns setof jobs
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_waiting bigint[] := '{}';
begin
    if exists (select from jobs_flows f) then
        perform _jobs_flow_reopened(job_ids);
        v_waiting := _jobs_flow_waiting(job_ids);
    end if;
    return query
    update jobs j
    set status = case when j.id = any (v_waiting) then 'blocked' else 'pending' end,
        retry_count = 0,
        crash_count = 0,
        run_at = clock_timestamp(),
        progress = null,
        result = null,
        error = null,
        worker = null,
        lease_until = null,
        cancel_requested_at = null,
        expires_at = null,
        marks = j.marks & ~1,
        updated_at = clock_timestamp(),
        finished_at = null
    where j.id = any (job_ids)
    returning j.*;
    if v_waiting <> '{}' then
        -- Only parents that had ended can have been deleted since. They count no more.
        delete from jobs_flow_edges e
        where e.child_id = any (v_waiting)
            and (select true from jobs p where p.id = e.parent_id) is null;
        perform _jobs_flow_recount(w.id) from unnest(v_waiting) w(id);
        perform _jobs_flow_tell();
    end if;
end
$$;

comment on function _jobs_make_pending is
    'internal: makes these jobs pending now, or blocked by their parents, with their counts at 0';

-- functions/manage/_jobs_objects_of_strangers.sql
-- Our functions find by name what the schema holds, beside what PostgreSQL has. Where an operator
-- or a function of the schema fits the types of a call better than PostgreSQL's own, the call gets
-- that one, and runs it as the owner of pgjobs. So the schema may hold nothing that a stranger can
-- change. A stranger is a role that is not the installer, a superuser or the owner of the database,
-- to which the installer does not belong, and which cannot become the installer.
--
-- Left out are the members of an extension whose owner is no stranger, and tables, because our
-- functions use no table but their own. A cast has neither schema nor owner. It counts as being
-- where its function and its types are, and as belonging to their owners.
--
-- sql/install.sql makes this function before it relies on anything else in the schema, so that an
-- upgrade replaces it in place: its arguments and its result stay as they are. Only names of
-- PostgreSQL are on its path.
create or replace function _jobs_objects_of_strangers(schema text, installer oid) returns text
language sql stable
set search_path to pg_catalog, pg_temp
as $$
with recursive above(role) as (
    select installer
    union
    select m.roleid from above a join pg_auth_members m on m.member = a.role
), stranger(role) as materialized (
    select r.oid from pg_roles r
    where not r.rolsuper
        and r.oid not in (select a.role from above a)
        and r.oid <> (select d.datdba from pg_database d where d.datname = current_database())
        -- Its only member is the owner of the database.
        and r.rolname <> 'pg_database_owner'
        and not pg_has_role(r.oid, installer, 'member')
), place(oid) as (
    select n.oid from pg_namespace n where n.nspname = schema
), function(oid, owner) as materialized (
    select p.oid, p.proowner from pg_proc p where p.pronamespace = (select p.oid from place p)
), type(oid, owner, relation) as materialized (
    select t.oid, t.typowner, t.typrelid from pg_type t
    where t.typnamespace = (select p.oid from place p)
), object(class, id, owner) as (
    select 'pg_proc'::regclass, f.oid, f.owner from function f
    union all
    select 'pg_operator'::regclass, o.oid, o.oprowner from pg_operator o
    where o.oprnamespace = (select p.oid from place p)
    union all
    -- Neither the array that comes with each type nor the rows of a table.
    select 'pg_type'::regclass, t.oid, t.owner from type t
    where not exists (select from pg_type e where e.typarray = t.oid)
        and not exists (select from pg_class c where c.oid = t.relation and c.relkind <> 'c')
    union all
    select 'pg_cast'::regclass, c.oid, part.owner
    from pg_cast c
    cross join lateral (
        select t.typowner as owner from pg_type t where t.oid in (c.castsource, c.casttarget)
        union all
        select p.proowner from pg_proc p where p.oid = c.castfunc
    ) part
    where c.castsource in (select t.oid from type t)
        or c.casttarget in (select t.oid from type t)
        or c.castfunc in (select f.oid from function f)
    union all
    select 'pg_opclass'::regclass, o.oid, o.opcowner from pg_opclass o
    where o.opcnamespace = (select p.oid from place p)
    union all
    select 'pg_opfamily'::regclass, o.oid, o.opfowner from pg_opfamily o
    where o.opfnamespace = (select p.oid from place p)
    union all
    select 'pg_collation'::regclass, c.oid, c.collowner from pg_collation c
    where c.collnamespace = (select p.oid from place p)
    union all
    select 'pg_conversion'::regclass, c.oid, c.conowner from pg_conversion c
    where c.connamespace = (select p.oid from place p)
    union all
    select 'pg_ts_config'::regclass, c.oid, c.cfgowner from pg_ts_config c
    where c.cfgnamespace = (select p.oid from place p)
    union all
    select 'pg_ts_dict'::regclass, d.oid, d.dictowner from pg_ts_dict d
    where d.dictnamespace = (select p.oid from place p)
), strange(name, place) as (
    select s.name, row_number() over (order by s.name)
    from (
        select distinct format('%s of %s', pg_describe_object(o.class, o.id, 0),
                               quote_ident(pg_get_userbyid(o.owner))) as name
        from object o
        where o.owner in (select s.role from stranger s)
            -- Whoever owns an extension may make own objects members of it. Users of a managed
            -- database are no superusers: there an administrator, who may create roles, owns the
            -- extensions.
            and not exists (
                select from pg_depend d
                join pg_extension e on e.oid = d.refobjid
                where d.classid = o.class and d.objid = o.id and d.deptype = 'e'
                    and d.refclassid = 'pg_extension'::regclass
                    and (e.extowner not in (select s.role from stranger s)
                        or (select r.rolcreaterole from pg_roles r where r.oid = e.extowner)
                            and not (select r.rolsuper from pg_roles r where r.oid = installer)))
    ) s
)
select string_agg(s.name, ', ' order by s.place) filter (where s.place <= 10)
    || case when count(*) > 10 then format(' and %s more', count(*) - 10) else '' end
from strange s
$$;

comment on function _jobs_objects_of_strangers is
    'internal: what another role owns in the schema and our functions might use; null: nothing';

-- functions/manage/_jobs_retry_keyed.sql
-- Two sessions cannot both win a key: the unique index decides. One subtransaction holds all jobs,
-- because a subtransaction per job makes every session of the server slower. Where a key is taken,
-- the two halves are tried one after the other, until the job whose key is taken is alone: it stays
-- as it is. So a conflict costs a few subtransactions more. The keys are taken in the order of the
-- array, which is that of type and key for all who take several: they never deadlock.
create or replace function _jobs_retry_keyed(job_ids bigint[]) returns bigint[]
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_half int := cardinality(job_ids) / 2;
    v_id bigint;
begin
    begin
        foreach v_id in array job_ids loop
            perform _jobs_make_pending(array[v_id]);
        end loop;
        return job_ids;
    exception
        when unique_violation then
            if v_half = 0 then
                return '{}';
            end if;
    end;
    return _jobs_retry_keyed(job_ids[:v_half]) || _jobs_retry_keyed(job_ids[v_half + 1:]);
end
$$;

comment on function _jobs_retry_keyed is
    'internal: makes those of these jobs pending whose unique_key is free; returns their ids';

-- functions/manage/_jobs_verdict.sql
-- declared: what code declared last, as _jobs_declared keeps it in the row; null where the row was
-- made by hand. definition: what code declares now. The verdicts:
--
-- - new: there is no row. changed: the code declares it otherwise than code last did.
-- - older: code declared it like this once, and otherwise later. So this code is an older version,
--   or an older one is wanted back: nobody but a person knows.
-- - same. undeclared: this app declared it once, and does so no more.
create or replace function _jobs_verdict(is_there boolean, declared jsonb, definition jsonb)
returns text
language sql immutable
set search_path from current
return case
    when not is_there then 'new'
    when definition is null then 'undeclared'
    when declared -> 'definition' = definition then 'same'
    when declared -> 'former' ? md5(definition::text) then 'older'
    else 'changed' end;

comment on function _jobs_verdict is
    'internal: how what code declares differs from what code declared last';

-- functions/reading: how many jobs there are, and which
-- functions/reading/jobs_counts.sql
create or replace function jobs_counts(cap int default 10000)
returns table (queue text, job_type text, state text, jobs bigint, capped boolean)
language sql stable security definer
set search_path from current
as $$
select c.queue, c.job_type, c.state, c.jobs, c.capped from _jobs_counts(cap) c
$$;

comment on function jobs_counts is
    'per queue, type and state: how many jobs; capped: there are more, or may be';

-- functions/reading/_jobs_audit_search.sql
-- Rows of jobs_audit that pass the filters, the newest first; null filters are left out. who: the
-- actor or one of the roles. within: no row is older.
--
-- The search ends after max_read rows. If there may be more, the last row that it returns has an id
-- alone: the search goes on before that one. The planner must walk the primary key, whatever the
-- statistics say.
create or replace function _jobs_audit_search(
    actions text[] default null,
    who text default null,
    job_id bigint default null,
    within interval default null,
    max_rows int default 20,
    before bigint default null,
    max_read int default 100000
) returns setof jobs_audit
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_before constant bigint := coalesce(before, 9223372036854775807);
    v_since constant timestamptz := _jobs_after(clock_timestamp(), -within);
    v_found bigint;
    v_end jobs_audit;
begin
    return query
    select a.*
    from (
        select r.* from jobs_audit r where r.id < v_before order by r.id desc limit max_read
    ) a
    where (actions is null or a.action = any (actions))
        and (who is null or who in (a.actor, a.db_role, a.set_role))
        and (_jobs_audit_search.job_id is null or a.job_id = _jobs_audit_search.job_id)
        and (within is null or a.at >= v_since)
    order by a.id desc
    limit max_rows;
    get diagnostics v_found = row_count;
    if v_found < max_rows then
        select r.id into v_end.id
        from jobs_audit r
        where r.id < v_before
        order by r.id desc
        offset max_read - 1
        limit 1;
        if found then
            return next v_end;
        end if;
    end if;
end
$$;

comment on function _jobs_audit_search is
    'internal: rows of jobs_audit that pass these filters; the last may say how far it looked';

-- functions/reading/_jobs_counts.sql
-- oldest_due: for how long the oldest due job has waited; where the count is capped, the oldest of
-- the jobs that were read. due_only: for who reads only the rows of the states due and throttled,
-- which cost half as much as all. oldest_throttled: the oldest of the due jobs where some are held
-- back.
--
-- Due is what a claim could take now. What the limits of its group or its queue hold back is
-- throttled. Where a queue has room for a part of its due jobs, the types with the oldest have it.
create or replace function _jobs_counts(cap int default 10000, due_only boolean default false)
returns table (
    queue text, job_type text, state text, jobs bigint, capped boolean, oldest_due interval,
    oldest_throttled interval
)
language plpgsql stable security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    v_cap int := coalesce(_jobs_counts.cap, 10000);
    -- What this may cost: 0.05 s. A cap above 10,000 may cost more in each respect.
    v_max_groups int := greatest(v_cap, 10000) / 20;
    v_max_rows bigint := greatest(v_cap, 10000)::bigint * 20;
    v_now timestamptz := clock_timestamp();
begin
    if v_cap < 1 then
        raise exception using errcode = 'JQ003',
            message = format('cap must be 1 or more, not %s', v_cap);
    end if;
    return query
    with counted as (
        select p.queue, p.job_type, p.due, p.due as startable, p.due_capped, p.oldest,
            p.oldest as oldest_of_all, p.later, p.retrying, p.later_capped
        from _jobs_counts_pending(v_cap, v_max_groups, v_max_rows, due_only) p
        union all
        select g.queue, g.job_type, g.due, g.startable, g.due_capped or g.is_more,
            case when g.startable > 0 then g.oldest end, g.oldest, g.later, g.retrying,
            g.later_capped or g.is_more
        from _jobs_groups(v_cap, v_max_groups, v_max_rows, due_only) g
    ), typed as (
        select c.queue, c.job_type, sum(c.due)::bigint as due,
            sum(c.startable)::bigint as startable, bool_or(c.due_capped) as due_capped,
            min(c.oldest) as oldest, min(c.oldest_of_all) as oldest_of_all,
            sum(c.later)::bigint as later,
            sum(c.retrying)::bigint as retrying, bool_or(c.later_capped) as later_capped
        from counted c
        group by 1, 2
    ), room as materialized (
        select q.queue, _jobs_queue_room_now(q, v_now) as jobs
        from jobs_queues q
        where num_nonnulls(q.max_running, q.rate_count) > 0
    ), pending as (
        select t.*, case when r.jobs is null then t.startable else greatest(least(
                t.startable, r.jobs - coalesce(sum(t.startable) over (
                    partition by t.queue order by t.oldest, t.job_type
                    rows between unbounded preceding and 1 preceding), 0)), 0) end::bigint as now
        from typed t
        left join room r on r.queue = t.queue
    )
    select p.queue, p.job_type, s.state, least(s.jobs, v_cap), s.capped or s.jobs > v_cap,
        s.oldest_due, s.oldest_throttled
    from pending p
    cross join lateral (values
        ('due', p.now, p.due_capped and p.now = p.due,
         case when p.now > 0 then v_now - p.oldest end, null::interval),
        ('throttled', p.due - p.now, p.due_capped and p.now < p.due, null,
         v_now - p.oldest_of_all),
        ('later', p.later, p.later_capped, null, null),
        ('retrying', p.retrying, p.later_capped, null, null)
    ) s(state, jobs, capped, oldest_due, oldest_throttled)
    where (s.jobs > 0 or s.capped) and (s.state in ('due', 'throttled') or not due_only)
    union all
    select o.*, null::interval, null::interval from _jobs_counts_other(v_cap, v_max_groups) o
    where not due_only;
end
$$;

comment on function _jobs_counts is
    'internal: jobs_counts, and for how long the oldest due job has waited';

-- functions/reading/_jobs_counts_other.sql
-- No index leads to the jobs of a queue that are not pending. So this reads up to cap jobs of each
-- status, those first that ended last. It does not tell apart their types where the first 1,000 of
-- them are of more than max_groups queues and types.
create or replace function _jobs_counts_other(cap int, max_groups int)
returns table (queue text, job_type text, state text, jobs bigint, capped boolean)
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
with statuses as materialized (
    select s.status, (
        select count(distinct (f.queue, f.job_type)) <= max_groups
        from (
            select j.queue, j.job_type from jobs j
            where j.status = s.status and j.status <> 'pending'
            order by j.finished_at desc
            limit least(1000, cap)
        ) f) as has_types
    from unnest('{blocked,processing,completed,failed,cancelled}'::text[]) s(status)
)
select f.queue, case when s.has_types then f.job_type end, s.status,
    least(count(*), cap), sum(count(*)) over (partition by s.status) > cap
from statuses s
cross join lateral (
    select j.queue, j.job_type from jobs j
    where j.status = s.status and j.status <> 'pending'
    order by j.finished_at desc
    limit cap::bigint + 1
) f
group by 1, 2, 3
$$;

comment on function _jobs_counts_other is
    'internal: jobs_counts for the statuses other than pending';

-- functions/reading/_jobs_counts_pending.sql
-- The pending jobs of a queue, a priority and a type are a range of ix_jobs_claim, in the order of
-- run_at. One probe finds the next range. So the cost depends on the ranges that this visits and on
-- the jobs that it counts, whatever else waits. Both are limited, and no queue hides another one:
-- each queue may have its share of max_groups ranges, and a queue that has more is counted as a
-- whole (job_type is null). Behind max_groups queues, the others are counted as a whole (queue is
-- null). Each range is counted up to cap, until max_rows jobs were read; then, and in a queue that
-- is counted as a whole, up to 100, or 20 for due_only. due_only does not count the jobs of a range
-- that are not due.
create or replace function _jobs_counts_pending(
    cap int, max_groups int, max_rows bigint, due_only boolean
) returns table (
    queue text, job_type text, due bigint, due_capped boolean, oldest timestamptz,
    later bigint, retrying bigint, later_capped boolean
)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $$
#variable_conflict use_column
declare
    -- Who asks only what is due looks for what is stuck, not for exact numbers.
    c_min_rows constant int := least(cap, case when due_only then 20 else 100 end);
    v_now timestamptz := clock_timestamp();
    v_rows_left bigint := max_rows;
    v_limit bigint;
    v_queue text;
    v_last_queue text;
    v_priority smallint;
    v_type text;
begin
    -- last_queue is null for a range that is counted below.
    for v_queue, v_priority, v_type, v_last_queue, due, oldest, later, due_capped in
        with recursive queues(place, queue, priority, job_type) as (
            (select 1, j.queue, j.priority, j.job_type from jobs j
             where j.status = 'pending' and j.group_key is null
             order by j.queue, j.priority, j.job_type, j.run_at, j.id limit 1)
            union all
            select q.place + 1, n.queue, n.priority, n.job_type
            from queues q
            cross join lateral (
                select j.queue, j.priority, j.job_type from jobs j
                where j.status = 'pending' and j.group_key is null and j.queue > q.queue
                order by j.queue, j.priority, j.job_type, j.run_at, j.id limit 1
            ) n
            where q.place <= max_groups
        ), share as materialized (
            select greatest(max_groups / greatest(count(*), 1), 1) as ranges from queues
        ), present(place, queue, priority, job_type, range) as (
            select q.*, 1 from queues q
            union all
            -- In each queue one range more than the share, to see whether there are more.
            select p.place, p.queue, n.priority, n.job_type, p.range + 1
            from present p
            cross join share s
            cross join lateral (
                select j.priority, j.job_type from jobs j
                where j.status = 'pending' and j.group_key is null and j.queue = p.queue
                    and (j.priority, j.job_type) > (p.priority, p.job_type)
                order by j.queue, j.priority, j.job_type, j.run_at, j.id limit 1
            ) n
            where p.range <= s.ranges
        ), found as (
            select p.*, max(p.range) over (partition by p.place) > s.ranges as is_whole
            from present p
            cross join share s
        ), counted as (
            select f.*, case
                when f.place > max_groups
                    then (select j.queue from jobs j
                          where j.status = 'pending' and j.group_key is null
                          order by j.queue desc limit 1)
                when f.is_whole then f.queue end as last_queue
            from found f
            where f.range = 1 or not f.is_whole
        )
        select c.queue, c.priority, c.job_type, c.last_queue, w.*
        from counted c
        cross join lateral (
            -- This reads the index alone, so it does not see which jobs wait for a retry.
            select least(count(*) filter (where r.run_at <= v_now), c_min_rows), min(r.run_at),
                least(count(*) filter (where r.run_at > v_now), c_min_rows),
                count(*) > c_min_rows
            from (
                select j.run_at from jobs j
                where j.status = 'pending' and j.group_key is null
                    and j.queue between c.queue and c.last_queue
                order by j.queue, j.priority, j.job_type, j.run_at, j.id
                limit c_min_rows + 1
            ) r
        ) w
        order by c.place, c.range
    loop
        retrying := 0;
        if v_last_queue is null then
            queue := v_queue;
            job_type := v_type;
            v_limit := greatest(least(cap, v_rows_left), c_min_rows);
            select count(*), min(c.run_at) into due, oldest
            from (
                select j.run_at from jobs j
                where j.status = 'pending' and j.group_key is null and j.queue = v_queue
                    and j.priority = v_priority and j.job_type = v_type and j.run_at <= v_now
                order by j.run_at, j.id
                limit v_limit + 1
            ) c;
            later := 0;
            if not due_only then
                select count(*), count(*) filter (where c.retry_count > 0 or c.crash_count > 0)
                into later, retrying
                from (
                    select j.retry_count, j.crash_count from jobs j
                    where j.status = 'pending' and j.group_key is null and j.queue = v_queue
                        and j.priority = v_priority and j.job_type = v_type and j.run_at > v_now
                    order by j.run_at, j.id
                    limit v_limit + 1
                ) c;
            end if;
            due_capped := due > v_limit;
            later_capped := later > v_limit;
            later := later - retrying;
        else
            queue := case when v_queue = v_last_queue then v_queue end;
            job_type := null;
            later_capped := due_capped;
        end if;
        v_rows_left := v_rows_left - due - later - retrying;
        return next;
    end loop;
end
$$;

comment on function _jobs_counts_pending is
    'internal: jobs_counts for the pending jobs, by queue, priority and type';

-- functions/reading/_jobs_error_line.sql
-- What the errors of one kind have in common: the first line, in which each quoted part, and each
-- number, hex number and UUID is one *. What joins numbers, as in dates, addresses and versions, is
-- a part of them. A quotation mark behind a letter quotes nothing: it is an apostrophe.
--
-- The line is cut twice. What it is cut to at last is shorter, so that lines of one kind end alike
-- although the parts that became * had different lengths. PostgreSQL inlines this function, so it
-- has no settings of its own.
create or replace function _jobs_error_line(error text) returns text
language sql immutable
return left(regexp_replace(
    btrim(split_part(left(error, 300), E'\n', 1), E' \t\r'),
    '"[^"]*("|$)'
    '|`[^`]*(`|$)'
    '|(?<!\w)[bru]?''[^'']*(''|$)'
    '|(?<![[:alpha:]])(0x)?[0-9a-fA-F]*[0-9][0-9a-fA-F]*([.,:-][0-9a-fA-F]+(?![[:alnum:]]))*(?![[:alpha:]])'
    '|[0-9]+',
    '*', 'g'), 160);

comment on function _jobs_error_line is
    'internal: the first line of an error without its quoted parts and numbers';

-- functions/reading/_jobs_failures.sql
-- What failed or was lost, by type, class of the exception and first line of the error. The newest
-- attempts are read: those that ended within the interval, and not after before. max_read bounds
-- them, and the filters pass over some of them. by_error false: by type alone, and no text is read.
--
-- attempts, jobs     what of the group was read
-- failed, retrying   the jobs whose latest failure that was read is in this group: those that have
--                    failed for good by it, and those that have not ended. So a job counts in one group
-- job_ids            the newest jobs; failed_ids, retrying_ids: the oldest; max_ids of each at most
--
-- The groups with the most attempts come first, and max_groups of them at most; with failure_key
-- that group alone. The last row has no key: how many attempts were read, when the first of them
-- ended, and until when they were looked for.
create or replace function _jobs_failures(
    within interval,
    before timestamptz default null,
    only_type text default null,
    only_queue text default null,
    by_error boolean default true,
    max_groups int default 100,
    max_ids int default 3,
    failure_key text default null,
    max_read int default 5000
) returns table (
    key text, job_type text, error_kind text, error_line text, attempts bigint, jobs bigint,
    failed bigint, retrying bigint, first_at timestamptz, last_at timestamptz, job_ids bigint[],
    failed_ids bigint[], retrying_ids bigint[]
)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_nestloop = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := statement_timestamp();
    v_since constant timestamptz := coalesce(_jobs_after(v_now, -within), '-infinity');
    v_until constant timestamptz := least(before, v_now);
begin
    return query
    with read as materialized (
        select a.job_id, a.job_type, a.attempt, a.ended_at,
            case when by_error then a.error_kind end collate "C" as error_kind,
            case when by_error then split_part(left(a.error, 300), E'\n', 1) end collate "C" as line
        from (
            select r.* from jobs_attempts r
            where r.ended_at >= v_since and r.ended_at <= v_until
            order by r.ended_at desc
            limit max_read
        ) a
        where only_type is null or a.job_type = only_type
    ), lines as materialized (
        -- The pattern takes most of the time, so lines that are alike pass it once.
        select e.line, _jobs_error_line(e.line) collate "C" as told
        from (select distinct r.line from read r) e
    ), ended as materialized (
        select r.job_id, r.attempt as latest, j.status, j.attempt
        from (select r.job_id, max(r.attempt) as attempt from read r group by r.job_id) r
        cross join lateral (
            select * from jobs j where j.id = r.job_id offset 0
        ) j
        where only_queue is null or j.queue = only_queue
    ), told as (
        select r.job_id, r.job_type, r.ended_at, r.error_kind, l.told as line,
            r.attempt = e.latest and e.attempt = e.latest and e.status = 'failed' as has_failed,
            r.attempt = e.latest and e.status in ('pending', 'processing', 'blocked') as retries
        from read r
        join ended e on e.job_id = r.job_id
        left join lines l on l.line = r.line
    ), grouped as materialized (
        select left(encode(sha256(convert_to(
                jsonb_build_array(t.job_type, t.error_kind, t.line)::text, 'UTF8')), 'hex'), 32) as key,
            t.job_type, t.error_kind, t.line, count(*) as attempts, count(distinct t.job_id) as jobs,
            count(*) filter (where t.has_failed) as failed,
            count(*) filter (where t.retries) as retrying,
            min(t.ended_at) as first_at, max(t.ended_at) as last_at,
            array_agg(distinct t.job_id) as job_ids,
            array_agg(t.job_id order by t.job_id) filter (where t.has_failed) as failed_ids,
            array_agg(t.job_id order by t.job_id) filter (where t.retries) as retrying_ids
        from told t
        group by t.job_type, t.error_kind, t.line
    )
    select g.key, g.job_type, g.error_kind, g.line, g.attempts, g.jobs, g.failed, g.retrying,
        g.first_at, g.last_at,
        g.job_ids[greatest(cardinality(g.job_ids) - max_ids, 0) + 1:],
        coalesce(g.failed_ids[:max_ids], '{}'), coalesce(g.retrying_ids[:max_ids], '{}')
    from grouped g
    where failure_key is null or g.key = failure_key
    order by g.attempts desc, g.last_at desc, g.key
    limit max_groups;
    return query
    select null::text, null::text, null::text, null::text, count(*), null::bigint, null::bigint,
        null::bigint, min(r.ended_at), nullif(v_until, '-infinity'), null::bigint[],
        null::bigint[], null::bigint[]
    from (
        select a.ended_at from jobs_attempts a
        where a.ended_at >= v_since and a.ended_at <= v_until
        order by a.ended_at desc
        limit max_read
    ) r;
end
$$;

comment on function _jobs_failures is
    'internal: what has failed lately, by type, exception and line; the last row: what was read';

-- functions/reading/_jobs_groups.sql
-- Each live group is one probe of ix_jobs_group, and so is each type and rank of its pending jobs.
-- Both are bounded, and no queue hides another one: each queue may have its share of max_groups
-- groups. is_more: the queue has more groups, or this group has more types and ranks, than were
-- read. Each range is counted up to its share of max_rows, and at most up to cap.
--
-- startable: how many of the due jobs a claim could take now, as _jobs_claim_groups decides it.
-- Where the room of a group is for a part of its jobs, those have it that come first.
create or replace function _jobs_groups(
    cap int, max_groups int, max_rows bigint, due_only boolean
) returns table (
    queue text, group_key text, job_type text, due bigint, startable bigint, due_capped boolean,
    oldest timestamptz, later bigint, retrying bigint, later_capped boolean,
    held_until timestamptz, is_more boolean
)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $$
#variable_conflict use_column
declare
    c_max_levels constant int := 100;
    v_now timestamptz := clock_timestamp();
begin
    if not exists (select from jobs j where j.group_key is not null and j.finished_at is null) then
        return;
    end if;
    return query
    with recursive queues(place, queue) as (
        (select 1, j.queue from jobs j
         where j.group_key is not null and j.finished_at is null
         order by j.queue, j.group_key, j.status limit 1)
        union all
        select q.place + 1, n.queue
        from queues q
        cross join lateral (
            select j.queue from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue > q.queue
            order by j.queue, j.group_key, j.status limit 1
        ) n
        where q.place < max_groups
    ), share as materialized (
        select greatest(max_groups / count(*), 1) as groups from queues
    ), walked(queue, group_key, place) as (
        select q.queue, n.group_key, 1
        from queues q
        cross join lateral (
            select j.group_key from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue = q.queue
            order by j.queue, j.group_key, j.status limit 1
        ) n
        union all
        -- In each queue one group more than the share, to see whether there are more.
        select w.queue, n.group_key, w.place + 1
        from walked w
        cross join share s
        cross join lateral (
            select j.group_key from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue = w.queue
                and j.group_key > w.group_key
            order by j.queue, j.group_key, j.status limit 1
        ) n
        where w.place <= s.groups
    ), groups as materialized (
        select w.*, max(w.place) over (partition by w.queue) > s.groups as is_more, s.groups
        from walked w
        cross join share s
    ), level(queue, group_key, is_more, place, job_type, rank) as (
        select g.queue, g.group_key, g.is_more, 1, n.job_type, n.rank
        from groups g
        cross join lateral (
            select j.job_type, _jobs_rank(j.attempt, j.priority) as rank from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue = g.queue
                and j.group_key = g.group_key and j.status = 'pending'
            order by j.queue, j.group_key, j.status, j.job_type,
                _jobs_rank(j.attempt, j.priority), j.run_at, j.id limit 1
        ) n
        where g.place <= g.groups
        union all
        select l.queue, l.group_key, l.is_more or l.place = c_max_levels, l.place + 1, n.job_type,
            n.rank
        from level l
        cross join lateral (
            select j.job_type, _jobs_rank(j.attempt, j.priority) as rank from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue = l.queue
                and j.group_key = l.group_key and j.status = 'pending'
                and (j.job_type, _jobs_rank(j.attempt, j.priority)) > (l.job_type, l.rank)
            order by j.queue, j.group_key, j.status, j.job_type,
                _jobs_rank(j.attempt, j.priority), j.run_at, j.id limit 1
        ) n
        where l.place <= c_max_levels
    ), limits as materialized (
        select greatest(least(cap, max_rows / greatest(count(*), 1)), 20) as rows from level
    ), counted as (
        select l.queue, l.group_key, l.job_type, min(l.rank) as rank, sum(d.jobs)::bigint as due,
            bool_or(d.jobs > m.rows) as due_capped, min(d.oldest) as oldest,
            sum(f.jobs - f.retrying)::bigint as later, sum(f.retrying)::bigint as retrying,
            bool_or(f.jobs > m.rows) as later_capped,
            min(f.first) filter (where l.rank < 10) as held_until, bool_or(l.is_more) as is_more
        from level l
        cross join limits m
        cross join lateral (
            select count(*) as jobs, min(r.run_at) as oldest
            from (
                select j.run_at from jobs j
                where j.group_key is not null and j.finished_at is null and j.queue = l.queue
                    and j.group_key = l.group_key and j.status = 'pending'
                    and j.job_type = l.job_type
                    and _jobs_rank(j.attempt, j.priority) = l.rank and j.run_at <= v_now
                order by j.queue, j.group_key, j.status, j.job_type,
                    _jobs_rank(j.attempt, j.priority), j.run_at, j.id
                limit m.rows + 1
            ) r
        ) d
        cross join lateral (
            select count(*) as jobs, min(r.run_at) as first,
                count(*) filter (where r.retry_count > 0 or r.crash_count > 0) as retrying
            from (
                select j.run_at, j.retry_count, j.crash_count from jobs j
                where j.group_key is not null and j.finished_at is null and j.queue = l.queue
                    and j.group_key = l.group_key and j.status = 'pending'
                    and j.job_type = l.job_type
                    and _jobs_rank(j.attempt, j.priority) = l.rank and j.run_at > v_now
                order by j.queue, j.group_key, j.status, j.job_type,
                    _jobs_rank(j.attempt, j.priority), j.run_at, j.id
                limit case when due_only then 1 else m.rows + 1 end
            ) r
        ) f
        group by 1, 2, 3
    ), limited as (
        select c.*, case when q.in_order
                then min(c.held_until) over (partition by c.queue, c.group_key) end as group_held_until,
            coalesce(sum(c.due) over (
                partition by c.queue, c.group_key order by c.rank, c.oldest, c.job_type
                rows between unbounded preceding and 1 preceding), 0) as due_before,
            case when q.max_running_per_group is not null then q.max_running_per_group - (
                select count(*) from (
                    select from jobs r
                    where r.queue = c.queue and r.group_key = c.group_key
                        and r.status = 'processing' and r.finished_at is null
                    limit q.max_running_per_group) r) end as places,
            case when q.group_rate_count is not null then coalesce(
                (select _jobs_starts_room(s.moments, s.counts, q.group_rate_count,
                                          q.group_rate_period, v_now)
                 from jobs_starts s where s.queue = c.queue and s.group_key = c.group_key),
                q.group_rate_count) end as starts
        from counted c
        left join jobs_queues q on q.queue = c.queue
    )
    select l.queue, l.group_key::text, l.job_type, l.due, case when l.group_held_until is not null then 0
            else greatest(least(l.due, least(l.places, l.starts) - l.due_before), 0) end::bigint,
        l.due_capped, l.oldest, l.later, l.retrying, l.later_capped, l.group_held_until, l.is_more
    from limited l;
end
$$;

comment on function _jobs_groups is
    'internal: the pending jobs of each group by type, and how many of them a claim could take now';

-- functions/reading/_jobs_queues_of_groups.sql
-- Goes from queue to queue by one index probe each.
create or replace function _jobs_queues_of_groups() returns setof text
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
with recursive present(queue) as (
    (
        select j.queue from jobs j
        where j.group_key is not null and j.finished_at is null
        order by j.queue, j.group_key, j.status limit 1
    )
    union all
    select n.queue
    from present p
    cross join lateral (
        select j.queue from jobs j
        where j.group_key is not null and j.finished_at is null and j.queue > p.queue
        order by j.queue, j.group_key, j.status limit 1
    ) n
)
select p.queue from present p
$$;

comment on function _jobs_queues_of_groups is
    'internal: the queues in which a job with a group is pending or runs';

-- functions/reading/_jobs_rates.sql
-- Reads at most 10,000 jobs of each status: where more have ended, the rate is that of those.
create or replace function _jobs_rates(within interval)
returns table (status text, per_second float8)
language sql stable security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
select s.status, e.jobs / extract(epoch from
    case when e.jobs = 10000 then clock_timestamp() - e.first else within end)::float8
from unnest('{completed,failed,cancelled}'::text[]) with ordinality s(status, place)
cross join lateral (
    select count(*) as jobs, min(f.finished_at) as first
    from (
        select j.finished_at from jobs j
        where j.status = s.status and j.status <> 'pending'
            and j.finished_at >= statement_timestamp() - within
        order by j.finished_at desc
        limit 10000
    ) f
) e
order by s.place
$$;

comment on function _jobs_rates is
    'internal: how many jobs a second have reached each final status lately';

-- functions/reading/_jobs_search.sql
-- The jobs that a list shows, in its order. before: the last job of the page before. Each order is
-- one that an index has:
--
-- pending jobs only         as claims take them, queue by queue, and in each queue behind the jobs
-- without a group those of groups, group by group (_jobs_search_pending)
--   jobs that have ended      those first that ended last
--   else                      the newest first, by id
--
-- The last two are walks, which pass over the jobs that the other filters exclude. Where a filter
-- has an index of its own and at most 20,000 jobs are behind it, those are read and sorted instead.
-- The walks end after max_read jobs (null: no end). The last row is then the job where it has
-- ended, with matches false; the search goes on before that job.
--
-- The statements are put together from constant parts, so that each has the conditions of the given
-- filters alone, and an index can serve them.
create or replace function _jobs_search(
    statuses text[] default null,
    job_types text[] default null,
    queues text[] default null,
    reference_type text default null,
    reference_id bigint default null,
    reference_key text default null,
    before bigint default null,
    max_jobs bigint default 20,
    max_read int default null,
    group_key text default null
) returns table (job_id bigint, matches boolean)
language plpgsql stable security definer rows 20
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    c_columns constant text := 'j.id, j.status, j.job_type, j.queue, j.reference_type, '
        'j.reference_id, j.reference_key, j.group_key, j.attempt, j.priority, j.run_at, '
        'j.finished_at';
    v_only_pending constant boolean := coalesce(statuses <@ '{pending}', false);
    v_only_ended constant boolean := coalesce(statuses <@ '{completed,failed,cancelled}', false);
    v_last jobs;
    v_filters text;
    v_order text;
    v_after text;
    v_set text;
    v_max_set bigint;
    v_is_larger boolean;
    v_walks text[];
    v_page text;
    v_ids bigint[];
    v_edge timestamptz;
    v_end bigint;
begin
    if '{}' in (statuses, job_types, queues) then
        return;
    end if;
    if before is not null and (v_only_pending or v_only_ended) then
        select j.* into v_last from jobs j where j.id = before;
        if v_last.id is null or v_only_ended and v_last.finished_at is null then
            raise exception using errcode = 'JQ001',
                message = format('there is no job %s any more that has ended, so the list cannot '
                                 'go on there: begin again', before);
        end if;
    end if;
    v_filters := concat_ws(' and ',
        case when statuses is not null then 'j.status = any ($1)' end,
        case when job_types is not null then 'j.job_type = any ($2)' end,
        case when queues is not null then 'j.queue = any ($3)' end,
        case when reference_type is not null then 'j.reference_type = $4' end,
        case when reference_id is not null then 'j.reference_id = $5' end,
        case when reference_key is not null then 'j.reference_key = $6' end,
        case when group_key is not null then 'j.group_key = $11' end,
        'true');
    v_after := 'true';
    if v_only_pending then
        -- Without a group: as a group and a type before all others, of one rank per priority.
        v_order := 'j.queue, coalesce(j.group_key, ''''), '
            'case when j.group_key is null then '''' else j.job_type end, '
            'case when j.group_key is null then -j.priority '
            'else _jobs_rank(j.attempt, j.priority) end, j.run_at, j.id';
        if before is not null then
            v_after := format('(%s) > (%s)', v_order, replace(v_order, 'j.', '($9).'));
        end if;
    elsif v_only_ended then
        v_order := 'j.finished_at desc, j.id desc';
        if before is not null then
            v_after := '(j.finished_at, j.id) < (($9).finished_at, $7)';
        end if;
    else
        v_order := 'j.id desc';
        if before is not null then
            v_after := 'j.id < $7';
        end if;
    end if;

    -- Pending jobs of a reference have no other way.
    v_max_set := case when not v_only_pending
        or coalesce(reference_type, reference_id::text, reference_key) is null then 20000 end;
    -- The order of each makes the planner take the right index, whatever the statistics say.
    foreach v_set in array array_remove(array[
        case when reference_type is not null and reference_id is not null
                then 'from jobs j where j.reference_type = $4'
                    ' and j.reference_id between $5 and $5 order by j.reference_id'
            when reference_type is not null and reference_key is not null
                then 'from jobs j where j.reference_type = $4'
                    ' and j.reference_key between $6 and $6 order by j.reference_key'
            when reference_id is not null then 'from jobs j where j.reference_id = $5'
            when reference_type is not null then 'from jobs j where j.reference_type = $4' end,
        case when group_key is not null and statuses <@ '{pending,processing,blocked}'
            then 'from (select q.queue from _jobs_queues_of_groups() q(queue)) q'
                ' cross join lateral (select * from jobs j where j.queue = q.queue'
                ' and j.group_key = $11 and j.group_key is not null and j.finished_at is null'
                ' offset 0) j' end,
        case when statuses <@ '{processing,blocked}'
            then 'from jobs j where j.status = any ($1) and j.status <> ''pending'''
                ' order by j.status, j.finished_at' end,
        case when job_types is not null and statuses is not null
                then 'from (select distinct unnest($1) as status) s'
                    ' cross join (select distinct unnest($2) as job_type) t'
                    ' cross join lateral (select * from jobs j where j.status = s.status'
                    ' and j.job_type = t.job_type offset 0) j'
            when job_types is not null then 'from jobs j where j.job_type = any ($2)' end
    ], null) loop
        v_set := format('select %s %s limit $10', c_columns, v_set);
        execute format('select count(*) > $10 - 1 from (%s) j', v_set)
        into v_is_larger
        using statuses, job_types, queues, reference_type, reference_id, reference_key,
            before, max_jobs, v_last, v_max_set + 1, group_key;
        if v_is_larger is not true then
            return query execute format(
                'select j.id, true from (%s) j where %s and %s order by %s limit $8',
                v_set, v_filters, v_after, v_order)
            using statuses, job_types, queues, reference_type, reference_id, reference_key,
                before, max_jobs, v_last, v_max_set, group_key;
            return;
        end if;
    end loop;

    if v_only_pending then
        return query
        select s.job_id, true
        from _jobs_search_pending(job_types, queues, group_key, max_jobs, v_last) s;
        return;
    end if;
    -- An index leads to one status at a time.
    v_walks := case when v_only_ended then array(
        select format('select %s from jobs j where j.status = %L and j.status <> ''pending'' and %s'
                      ' order by j.finished_at desc', c_columns, s.status, v_after)
        from (select distinct unnest(statuses) as status) s)
    else array[format('select %s from jobs j where %s order by j.id desc', c_columns, v_after)] end;
    v_page := (
        select string_agg(format('(select j.* from (%s limit $10) j where %s order by %s limit $8)',
                                 w.walk, v_filters, v_order), ' union all ')
        from unnest(v_walks) w(walk));
    execute format('select array(select j.id from (%s) j order by %s limit $8)', v_page, v_order)
    into v_ids
    using statuses, job_types, queues, reference_type, reference_id, reference_key,
        before, max_jobs, v_last, max_read / cardinality(v_walks), group_key;
    if cardinality(v_ids) < max_jobs and max_read is not null then
        -- Where the first of the walks has ended. Without other columns an index is enough.
        v_page := (
            select string_agg(format('(%s offset $10 - 1 limit 1)', replace(
                w.walk, c_columns,
                case when v_only_ended then 'j.finished_at, null::bigint as id'
                    else 'null::timestamptz as finished_at, j.id' end)), ' union all ')
            from unnest(v_walks) w(walk));
        execute format('select max(j.finished_at), max(j.id) from (%s) j', v_page)
        into v_edge, v_end
        using statuses, job_types, queues, reference_type, reference_id, reference_key,
            before, max_jobs, v_last, max_read / cardinality(v_walks), group_key;
    end if;
    if v_edge is not null then
        -- Of the jobs that ended in the same moment only some may have been read: the search goes
        -- on with all of them. Only where more than max_read ended in one moment it goes on within
        -- them, and may miss some, because the index does not have them in the order of their ids.
        v_end := (
            select e.id
            from (select distinct unnest(statuses) as status) s
            cross join lateral (
                select j.id, j.finished_at from jobs j
                where j.status = s.status and j.status <> 'pending' and j.finished_at > v_edge
                    and (before is null or (j.finished_at, j.id) < (v_last.finished_at, before))
                order by j.finished_at, j.id
                limit 1
            ) e
            order by e.finished_at, e.id
            limit 1);
        if v_end is null then
            v_page := (
                select string_agg(format('(select min(j.id) as id from (%s limit $10) j)', w.walk),
                                  ' union all ')
                from unnest(v_walks) w(walk));
            execute format('select max(j.id) from (%s) j', v_page)
            into v_end
            using statuses, job_types, queues, reference_type, reference_id, reference_key,
                before, max_jobs, v_last, max_read / cardinality(v_walks), group_key;
        end if;
        v_ids := array(
            select f.id
            from unnest(v_ids) with ordinality f(id, place)
            join jobs j on j.id = f.id
            join jobs e on e.id = v_end and (j.finished_at, j.id) >= (e.finished_at, e.id)
            order by f.place);
    end if;
    return query
    select f.id, true from unnest(v_ids) with ordinality f(id, place) order by f.place;
    if v_end is not null then
        return query select v_end, false;
    end if;
end
$$;

comment on function _jobs_search is
    'internal: which jobs a list shows, and where the search for them has ended';

-- functions/reading/_jobs_search_groups.sql
-- The pending jobs of a queue's groups in the order of ix_jobs_group: group by group, type by type,
-- then as claims take them. Each statement is one walk along a range of the index: first what is
-- left of the group of the last page's last job, then group by group.
create or replace function _jobs_search_groups(
    job_types text[],
    queue text,
    in_group text,
    max_jobs bigint,
    after jobs
) returns table (job_id bigint)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_left bigint := max_jobs;
    v_group text := coalesce(in_group, '');
    v_type text := '';
    v_rank int := -100;
    v_run_at timestamptz := '-infinity';
    v_id bigint := 0;
    v_wanted_type text;
    v_count int;
begin
    if (after).group_key is not null then
        v_group := (after).group_key;
        v_type := (after).job_type;
        v_rank := _jobs_rank((after).attempt, (after).priority);
        v_run_at := (after).run_at;
        v_id := (after).id;
    end if;
    while v_left > 0 and v_group is not null loop
        if job_types is null then
            return query
            select j.id from jobs j
            where j.group_key is not null and j.finished_at is null
                and j.queue = _jobs_search_groups.queue and j.group_key = v_group
                and j.status = 'pending'
                and (j.job_type, (j.attempt = 0)::int * 20 - j.priority::int, j.run_at, j.id)
                    > (v_type, v_rank, v_run_at, v_id)
            order by j.job_type, (j.attempt = 0)::int * 20 - j.priority::int, j.run_at, j.id
            limit v_left;
            get diagnostics v_count = row_count;
            v_left := v_left - v_count;
        else
            foreach v_wanted_type in array array(
                select t.job_type from unnest(job_types) t(job_type)
                where t.job_type collate "C" >= v_type order by t.job_type collate "C")
            loop
                return query
                select j.id from jobs j
                where j.group_key is not null and j.finished_at is null
                    and j.queue = _jobs_search_groups.queue and j.group_key = v_group
                    and j.status = 'pending' and j.job_type = v_wanted_type
                    and (j.job_type, (j.attempt = 0)::int * 20 - j.priority::int, j.run_at, j.id)
                        > (v_type, v_rank, v_run_at, v_id)
                order by (j.attempt = 0)::int * 20 - j.priority::int, j.run_at, j.id
                limit v_left;
                get diagnostics v_count = row_count;
                v_left := v_left - v_count;
                exit when v_left = 0;
            end loop;
        end if;
        exit when in_group is not null;
        v_group := (
            select j.group_key from jobs j
            where j.group_key is not null and j.finished_at is null
                and j.queue = _jobs_search_groups.queue and j.group_key > v_group
            order by j.group_key limit 1);
        v_type := '';
        v_rank := -100;
        v_run_at := '-infinity';
        v_id := 0;
    end loop;
end
$$;

comment on function _jobs_search_groups is
    'internal: which pending jobs of groups a list shows';

-- functions/reading/_jobs_search_pending.sql
-- Pending jobs, queue by queue. First come those without a group, in the order in which claims take
-- them: by priority (higher first), run_at and id. Each type of a queue and priority is a range of
-- ix_jobs_claim. So this reads at most max_jobs jobs of each type, in the queues and priorities
-- that it needs. Behind them come those of groups, in the order of ix_jobs_group: by group and
-- type, then as claims take them. Where job_types are given, each group of these queues costs one
-- probe per type.
create or replace function _jobs_search_pending(
    job_types text[],
    queues text[],
    in_group text,
    max_jobs bigint,
    after jobs
) returns table (job_id bigint)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_types text[] := case when job_types is not null
        then array(select distinct unnest(job_types)) end;
    v_left bigint := coalesce(max_jobs, 9223372036854775807);
    v_queue text := coalesce(after.queue, '');
    -- Above all levels: the queue itself comes next. Below all: its groups.
    v_level int := case when after.queue is null or after.group_key is not null or in_group is not null
        then -10 else after.priority + 1 end;
    v_run_at timestamptz;
    v_id bigint;
    v_count int;
begin
    while v_left > 0 loop
        v_level := (
            select j.priority from jobs j
            where j.status = 'pending' and j.group_key is null and j.queue = v_queue
                and j.priority < v_level
            order by j.priority desc limit 1);
        if v_level is null then
            return query
            select g.job_id
            from _jobs_search_groups(v_types, v_queue, in_group, v_left,
                                     case when after.queue = v_queue then after end) g;
            get diagnostics v_count = row_count;
            v_left := v_left - v_count;
            v_queue := case when queues is null then (
                    select min(n.queue)
                    from (
                        (select j.queue from jobs j
                         where j.status = 'pending' and j.group_key is null and j.queue > v_queue
                             and in_group is null
                         order by j.queue limit 1)
                        union all
                        (select j.queue from jobs j
                         where j.group_key is not null and j.finished_at is null
                             and j.queue > v_queue
                         order by j.queue limit 1)
                    ) n)
                else (
                    select min(q.queue) from unnest(queues) q(queue)
                    where q.queue collate "C" > v_queue) end;
            exit when v_queue is null;
            v_level := case when in_group is null then 10 else -10 end;
            continue;
        end if;
        if v_queue = after.queue and v_level = after.priority and after.group_key is null then
            v_run_at := after.run_at;
            v_id := after.id;
        else
            v_run_at := '-infinity';
            v_id := 0;
        end if;
        return query
        select r.id
        from unnest(coalesce(v_types, _jobs_types_present(v_queue, v_level))) t(job_type)
        cross join lateral (
            select j.id, j.run_at from jobs j
            where j.status = 'pending' and j.group_key is null
                and j.queue = v_queue
                and j.priority = v_level
                and j.job_type = t.job_type
                and (j.run_at, j.id) > (v_run_at, v_id)
            order by j.run_at, j.id
            limit v_left
        ) r
        order by r.run_at, r.id
        limit v_left;
        get diagnostics v_count = row_count;
        v_left := v_left - v_count;
    end loop;
end
$$;

comment on function _jobs_search_pending is
    'internal: which pending jobs a list shows';

-- functions/reading/_jobs_waiting_groups.sql
-- Acts as its owner, because an observer may not read jobs. due: at most 20 are counted of each type.
-- startable: how many of them the limits let start now; told: why none. In each queue this looks at its
-- share of 500 groups, in the order of their keys; is_more: there are more.
create or replace function _jobs_waiting_groups(
    only_queue text default null,
    max_groups int default 20
) returns table (
    queue text, group_key text, due bigint, due_capped boolean, startable bigint, oldest interval,
    held_until timestamptz, is_more boolean, told text
)
language sql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
select g.queue, g.group_key, g.due, g.due_capped, g.startable, clock_timestamp() - g.oldest_at,
    g.held_until, g.is_more,
    case when g.startable = 0 and q.queue is not null then _jobs_told_group(q, g.group_key) end
from (
    select w.queue, w.group_key, sum(w.due)::bigint as due, bool_or(w.due_capped) as due_capped,
        sum(w.startable)::bigint as startable, min(w.oldest) as oldest_at,
        min(w.held_until) as held_until, bool_or(w.is_more) as is_more
    from _jobs_groups(20, 500, 20000, true) w
    where w.due > 0
        and (_jobs_waiting_groups.only_queue is null or w.queue = _jobs_waiting_groups.only_queue)
    group by w.queue, w.group_key
    order by min(w.oldest), w.queue, w.group_key
    limit _jobs_waiting_groups.max_groups
) g
left join jobs_queues q on q.queue = g.queue
order by g.oldest_at, g.queue, g.group_key
$$;

comment on function _jobs_waiting_groups is
    'internal: the groups whose due jobs wait longest, and why none of them starts';

-- functions/doctor: what is stuck and why
-- functions/doctor/jobs_doctor.sql
-- Runs with the rights of its caller, who is an observer at least, and says where those do not
-- suffice. The checks always give their advice, which is shown only where something is wrong.
create or replace function jobs_doctor()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
as $$
select d.check_name, d.verdict, d.detail, case when d.verdict <> 'ok' then d.advice end
from (
    select l.* from _jobs_doctor_leases() l
    union all
    select w.* from _jobs_doctor_workers() w
    union all
    select t.* from _jobs_doctor_limits() t
    union all
    select k.* from _jobs_doctor_held() k
    union all
    select f.* from _jobs_doctor_flows() f
    union all
    select c.* from _jobs_doctor_schedules() c
    union all
    select r.* from _jobs_doctor_retention() r
    union all
    select h.* from _jobs_doctor_history() h
    union all
    select v.* from _jobs_doctor_vacuum() v
    union all
    select n.* from _jobs_doctor_notify() n
    union all
    select s.* from _jobs_doctor_schema() s
) d
$$;

comment on function jobs_doctor is
    'what is stuck and why: one row per check, its verdict ok, warn or bad, and what to do';

-- functions/doctor/jobs_why.sql
-- Acts as its owner, because an observer may not read jobs. No text tells a payload, a result, an
-- error or a unique_key.
create or replace function jobs_why(job_id bigint)
returns table (reason text, detail text, advice text)
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_job jobs := _jobs_find(job_id);
begin
    if v_job.status = 'pending' then
        return query select w.reason, w.detail, w.advice from _jobs_why_pending(v_job) w;
    elsif v_job.status = 'blocked' then
        return query select w.reason, w.detail, w.advice from _jobs_why_blocked(v_job) w;
    elsif v_job.status = 'processing' then
        return query select w.reason, w.detail, w.advice from _jobs_why_processing(v_job) w;
    else
        return query select w.reason, w.detail, w.advice from _jobs_why_ended(v_job) w;
    end if;
end
$$;

comment on function jobs_why is
    'why a job does not run, the worst reason first, and what to do about each';

-- functions/doctor/_jobs_ahead.sql
-- Counts up to max_jobs. Without a group it goes from level to level, and in each from type to type
-- by ranges of ix_jobs_claim. In a group it looks at the first max_jobs jobs of each type, and in
-- order at all types, because then one of another type comes first too.
create or replace function _jobs_ahead(
    job jobs,
    max_jobs int,
    out jobs int,
    out higher int,
    out highest int
)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
#variable_conflict use_column
declare
    c_last_id constant bigint := 9223372036854775807;
    v_now timestamptz := clock_timestamp();
    v_rank int := _jobs_rank(job.attempt, job.priority);
    v_level int := 10;
    v_count int;
begin
    jobs := 0;
    higher := 0;
    if job.group_key is not null then
        select count(*), count(*) filter (where a.priority > job.priority), max(a.priority)
        into jobs, higher, highest
        from unnest(
            case when exists (select from jobs_queues q where q.queue = job.queue and q.in_order)
            then _jobs_group_types(job.queue, job.group_key)
            else array[job.job_type] end) t(job_type)
        cross join lateral (
            select j.priority, j.run_at from jobs j
            where j.group_key is not null and j.finished_at is null and j.queue = job.queue
                and j.group_key = job.group_key and j.status = 'pending'
                and j.job_type = t.job_type
                and (_jobs_rank(j.attempt, j.priority), j.run_at, j.id)
                    < (v_rank, job.run_at, job.id)
            order by _jobs_rank(j.attempt, j.priority), j.run_at, j.id
            limit max_jobs
        ) a
        where a.run_at <= v_now;
        jobs := least(jobs, max_jobs);
        return;
    end if;
    loop
        v_level := _jobs_next_level(job.queue, v_level, null);
        exit when v_level is null or v_level < job.priority or jobs >= max_jobs;
        v_count := (
            select count(*)
            from (
                select
                from unnest(_jobs_types_present(job.queue, v_level, v_now)) t(job_type)
                cross join lateral (
                    select from jobs j
                    where j.status = 'pending' and j.group_key is null and j.queue = job.queue
                        and j.priority = v_level and j.job_type = t.job_type
                        and (j.run_at, j.id) < (
                            case when v_level = job.priority then job.run_at else v_now end,
                            case when v_level = job.priority then job.id else c_last_id end)
                    order by j.run_at, j.id
                    limit max_jobs
                ) a
                limit max_jobs - jobs
            ) a);
        if v_count > 0 then
            highest := coalesce(highest, v_level);
            jobs := jobs + v_count;
            higher := higher + case when v_level > job.priority then v_count else 0 end;
        end if;
    end loop;
end
$$;

comment on function _jobs_ahead is
    'internal: how many due jobs come before this one, how many by priority, and the highest';

-- functions/doctor/_jobs_doctor_flows.sql
-- Acts as its owner, because an observer may not read the flows. Reads up to 1,000 blocked jobs.
create or replace function _jobs_doctor_flows()
returns table (check_name text, verdict text, detail text, advice text)
language plpgsql stable security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set jit = off
as $$
#variable_conflict use_column
declare
    c_max_read constant int := 1000;
    c_max_named constant int := 3;
    c_open_for constant interval := '1 hour';
    c_not_counted_for constant interval := '1 minute';
    v_now constant timestamptz := clock_timestamp();
    v_stuck text;
    v_open text;
    v_uncounted text;
begin
    if exists (select from jobs_flows f) then
        with blocked as materialized (
            select j.id, j.job_type, j.updated_at, f.*,
                f.parents - f.completed - f.failed - f.cancelled as running
            from (
                select j.id, j.job_type, j.updated_at from jobs j
                where j.status = 'blocked'
                order by j.status, j.finished_at
                limit c_max_read
            ) j
            join jobs_flows f on f.job_id = j.id
        ), named as (
            select b.*, case
                    when b.is_open and b.running <= 0 and b.updated_at < v_now - c_open_for
                        then 'open'
                    when not b.is_open and b.running <= 0 and b.on_parent_failed = 'wait'
                        and b.failed + b.cancelled > 0 then 'stuck' end as kind
            from blocked b
        ), placed as (
            select n.*, row_number() over (partition by n.kind order by n.id) as place,
                count(*) over (partition by n.kind) as of_kind
            from named n
            where n.kind is not null
        ), told as (
            select p.kind, string_agg(format('%s (%s%s)', p.id, p.job_type, case p.kind
                    when 'open' then format(', %s members ended %s ago', p.parents,
                                            date_trunc('second', v_now - p.updated_at))
                    when 'stuck' then format(', %s of its %s parents did not complete',
                                             p.failed + p.cancelled, p.parents) end), ', '
                order by p.id)
                || case when min(p.of_kind) > c_max_named
                    then format(', and %s more', min(p.of_kind) - c_max_named) else '' end as list
            from placed p
            where p.place <= c_max_named
            group by p.kind
        )
        select min(t.list) filter (where t.kind = 'stuck'),
            min(t.list) filter (where t.kind = 'open')
        into v_stuck, v_open
        from told t;

        with uncounted as (
            (select c.child_id as id from jobs_flow_changes c
             where c.noted_at < v_now - c_not_counted_for
             order by c.child_id
             limit c_max_read)
            union
            (select e.child_id
             from (select e.child_id from jobs_flow_edges e
                   where not e.is_attached
                   order by e.child_id, e.parent_id
                   limit c_max_read) e
             join jobs j on j.id = e.child_id
                 and j.created_at < v_now - c_not_counted_for)
        ), named as (
            select u.id, row_number() over (order by u.id) as place from uncounted u
        )
        select string_agg(n.id::text, ', ' order by n.id) filter (where n.place <= c_max_named)
            || case when count(*) > c_max_named
                then format(', and %s more', count(*) - c_max_named) else '' end
        into v_uncounted
        from named n;
    end if;
    return query values
        ('jobs blocked for ever', case when v_stuck is not null then 'warn' else 'ok' end,
         coalesce(v_stuck, 'none'),
         'they wait for all their parents to complete: pgjobs why ID names those that failed; retry '
             'these (pgjobs retry ID), or give the job up (pgjobs cancel ID)'),
        ('open batches', case when v_open is not null then 'warn' else 'ok' end,
         coalesce(v_open, 'none whose members have all ended for an hour'),
         'the producer may be gone before it closed the batch: select jobs_batch_close(ID), or '
             'pgjobs cancel ID'),
        ('flows that nobody counts', case when v_uncounted is not null then 'bad' else 'ok' end,
         coalesce(v_uncounted, 'none'),
         'no worker has counted their parents for a minute: start one, or select '
             'jobs_recover()');
end
$$;

comment on function _jobs_doctor_flows is
    'internal: the doctor''s checks of jobs that wait for others, and of batches';

-- functions/doctor/_jobs_doctor_held.sql
-- Acts as its owner, because an observer may not read unique keys. Reads 1,000 jobs that were lost,
-- and the newest 1,000 that failed; looks for the holders of 100 keys.
create or replace function _jobs_doctor_held()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
with suspect as (
    select j.id, format('%s (%s, lost %s times)', j.id, j.job_type, j.crash_count) as told,
        row_number() over (order by j.id) as place
    from (
        select j.id, j.job_type, j.crash_count, j.max_retries from jobs j
        where j.status = 'pending' and j.crash_count > 0
        order by j.queue, j.priority, j.run_at, j.id
        limit 1000
    ) j
    where _jobs_is_suspect(j.crash_count, j.max_retries)
), keyed as materialized (
    select f.id, f.job_type, f.unique_key
    from (
        select j.id, j.job_type, j.unique_key from jobs j
        where j.status = 'failed'
        order by j.status desc, j.finished_at desc
        limit 1000
    ) f
    where f.unique_key is not null
    limit 100
), held as (
    select k.id, row_number() over (order by k.id desc) as place,
        format('%s (%s; job %s, %s, holds the key)', k.id, k.job_type, h.id, h.status) as told
    from keyed k
    cross join lateral (
        select h.id, h.status, h.created_at
        from _jobs_key_holder(k.job_type, k.unique_key) h offset 0) h
    where h.id <> k.id and h.status in ('pending', 'blocked')
        and h.created_at < clock_timestamp() - interval '10 minutes'
), told as (
    select (
        select string_agg(s.told, ', ' order by s.place) filter (where s.place <= 3)
            || case when count(*) > 3 then format(', and %s more', count(*) - 3) else '' end
        from suspect s) as suspects, (
        select string_agg(h.told, ', ' order by h.place) filter (where h.place <= 3)
            || case when count(*) > 3 then format(', and %s more', count(*) - 3) else '' end
        from held h) as held
)
select c.* from told t cross join lateral (
    values
    ('suspect jobs', case when t.suspects is not null then 'warn' else 'ok' end,
     coalesce(t.suspects, 'none'),
     'each may kill its worker, so a worker takes it alone: see how those workers ended (pgjobs show '
         'ID); to start it anew: pgjobs cancel ID, then pgjobs retry ID'),
    ('held keys', case when t.held is not null then 'warn' else 'ok' end,
     coalesce(t.held, 'none'),
     'these failed and cannot be retried, because another job has waited with their unique key for '
         '10 minutes: see why (pgjobs why ID), or pgjobs cancel it and retry the failed one')
) c(check_name, verdict, detail, advice)
$$;

comment on function _jobs_doctor_held is
    'internal: the doctor''s checks of jobs that were lost, and of failed ones whose key is held';

-- functions/doctor/_jobs_doctor_history.sql
-- Runs with the rights of its caller, who may read jobs_history. A few attempts say nothing, so a type
-- counts from 20 attempts on, and its wait from 10 in each third of the hour.
create or replace function _jobs_doctor_history()
returns table (check_name text, verdict text, detail text, advice text)
language plpgsql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_now constant timestamptz := clock_timestamp();
    -- Computed once, and not for each row.
    v_since constant timestamptz := v_now - interval '1 hour';
    v_last_two constant timestamptz := v_now - interval '40 minutes';
    v_last_third constant timestamptz := v_now - interval '20 minutes';
    c_min_attempts constant int := 20;
    c_min_attempts_of_a_third constant int := 10;
    c_max_named constant int := 3;
    c_long_wait_s constant int := 60;
    v_types text[];
    v_failing text;
    v_waiting text;
begin
    -- A busy hour has 60,000 rows. Where nothing failed, and nobody waited for long in the last third, no
    -- more is read: the index tells of failures, which come after completed in the order of the words.
    v_types := array(
        select h.job_type from jobs_history h
        where h.span = interval '1 minute' and h.starts_at > v_since and h.starts_at <= v_now
            and h.outcome > 'completed' and h.job_type is not null
        union
        select h.job_type from jobs_history h
        where h.span = interval '1 minute' and h.starts_at > v_last_third and h.starts_at <= v_now
            and h.outcome <> 'cancelled' and h.job_type is not null
        group by 1
        having sum(h.waited_s) >= c_long_wait_s * sum(h.jobs)::float8);
    -- age: which third of the hour, 0 the last.
    with third as materialized (
        select h.job_type,
            case when h.starts_at > v_last_third then 0 when h.starts_at > v_last_two then 1
                else 2 end as age,
            sum(h.jobs) as attempts,
            coalesce(sum(h.jobs) filter (where h.outcome <> 'completed'), 0) as bad,
            sum(h.waited_s) / nullif(sum(h.jobs), 0)::float8 as wait_s
        from jobs_history h
        where h.span = interval '1 minute'
            and h.starts_at > v_since and h.starts_at <= v_now
            and h.outcome <> 'cancelled' and h.job_type = any (v_types)
            and v_types <> '{}'
        group by 1, 2
    ), typed as (
        select t.job_type, sum(t.attempts) as attempts, sum(t.bad) as bad
        from third t
        group by 1
    ), failing as (
        select t.*, row_number() over (order by t.bad desc, t.job_type) as place
        from typed t
        where t.attempts >= c_min_attempts and t.bad > t.attempts / 4
    ), waiting as (
        select l.job_type, f.wait_s as before_s, l.wait_s as now_s,
            row_number() over (order by l.wait_s desc, l.job_type) as place
        from third l
        join third m on m.job_type = l.job_type and m.age = 1 and m.wait_s < l.wait_s
        join third f on f.job_type = l.job_type and f.age = 2 and f.wait_s < m.wait_s
        where l.age = 0 and l.wait_s >= c_long_wait_s and l.wait_s >= 2 * f.wait_s
            and least(l.attempts, m.attempts, f.attempts) >= c_min_attempts_of_a_third
    )
    select (
        select string_agg(format('%s (%s of %s attempts, %s %%)', f.job_type, f.bad, f.attempts,
                                 round(100 * f.bad / f.attempts)), ', ' order by f.place)
                filter (where f.place <= c_max_named)
            || case when count(*) > c_max_named
                then format(', and %s more types', count(*) - c_max_named) else '' end
        from failing f
    ), (
        select string_agg(format('%s (from %s to %s on average)', w.job_type,
                                 date_trunc('second', make_interval(secs => least(w.before_s, 1e9))),
                                 date_trunc('second', make_interval(secs => least(w.now_s, 1e9)))),
                          ', ' order by w.place) filter (where w.place <= c_max_named)
            || case when count(*) > c_max_named
                then format(', and %s more types', count(*) - c_max_named) else '' end
        from waiting w
    )
    into v_failing, v_waiting;

    return query values
        ('failing types', case when v_failing is not null then 'warn' else 'ok' end,
         coalesce(v_failing || ' failed in the last hour', 'none'),
         'see what they raise: pgjobs list --type TYPE --status failed, and pgjobs show ID for a job '
             'that is retried; when it is mended: pgjobs retry --failed --type TYPE; what waits for a '
             'retry comes by itself, or at once: select jobs_edit_many(job_types => array[TYPE], '
             'set_run_at => now())'),
        ('growing waits', case when v_waiting is not null then 'warn' else 'ok' end,
         coalesce(v_waiting || ' within the last hour', 'none'),
         'more jobs come than are run: start more workers for them, or raise --concurrency; pgjobs '
             'top shows whether slots are free, and pgjobs doctor whether a limit holds them back');
end
$$;

comment on function _jobs_doctor_history is
    'internal: the doctor''s checks of what has ended: how much failed, and whether waits grow';

-- functions/doctor/_jobs_doctor_leases.sql
create or replace function _jobs_doctor_leases()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
with processing as (
    select count(*) filter (where j.lease_until < clock_timestamp()) as expired,
        clock_timestamp() - min(j.lease_until) as overdue,
        count(*) filter (where j.lease_until is null) as leaseless,
        max(j.age) filter (where j.lease_until is null) as held
    from jobs_list j where j.status = 'processing'
)
select 'expired leases',
    case when p.expired = 0 then 'ok' when p.overdue < '1 minute' then 'warn' else 'bad' end,
    case when p.expired = 0 then 'none'
        else format('%s, the oldest for %s', p.expired, date_trunc('second', p.overdue)) end,
    'a running worker takes such jobs back within 10 s; without one: '
        'select count(*) from jobs_recover()'
from processing p
union all
select 'jobs held without a lease',
    case when p.held > '1 hour' then 'warn' else 'ok' end,
    case when p.leaseless = 0 then 'none'
        else format('%s, the longest for %s', p.leaseless, date_trunc('second', p.held)) end,
    'nothing takes them back by itself: if their worker is gone, '
        'select count(*) from jobs_recover(worker)'
from processing p
$$;

comment on function _jobs_doctor_leases is
    'internal: the doctor''s checks of jobs that no worker finishes';

-- functions/doctor/_jobs_doctor_limits.sql
-- Acts as its owner, because an observer may not read the turns. Without limits and groups this
-- reads jobs_queues and makes one probe for jobs of groups.
create or replace function _jobs_doctor_limits()
returns table (check_name text, verdict text, detail text, advice text)
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    c_max_groups constant int := 200;
    c_max_groups_without_turn constant int := 500;
    c_max_named constant int := 3;
    v_throttled text;
    v_is_stuck boolean := false;
    v_held text;
    v_is_held_long boolean := false;
    v_turnless text;
begin
    if exists (select from jobs j where j.group_key is not null and j.finished_at is null)
        or exists (select from jobs_queues q where num_nonnulls(q.max_running, q.rate_count) > 0)
    then
        with throttled as (
            select c.queue, sum(c.jobs) filter (where c.state = 'throttled') as jobs,
                bool_or(c.capped) as capped, max(c.oldest_throttled) as age
            from _jobs_counts(1000, due_only => true) c
            group by c.queue
            having sum(c.jobs) filter (where c.state = 'throttled') > 0
                and sum(c.jobs) filter (where c.state = 'due') is null
        ), named as (
            select t.*, q as settings, _jobs_told_limit(q) as told, (
                -- Of a group that is full, rather than of one that waits for its head.
                select g.group_key
                from _jobs_groups(20, c_max_groups, 20000, true) g
                where g.queue = t.queue and g.due > 0
                order by g.held_until is not null, g.oldest
                limit 1) as group_key
            from throttled t
            join jobs_queues q on q.queue = t.queue
            where q.paused_at is null or q.paused_until <= clock_timestamp()
        ), blamed as (
            select n.queue, n.jobs, n.capped, n.age, coalesce(n.told, 'group ' || n.group_key || ': '
                    || coalesce(_jobs_told_limit(n.settings, n.group_key), 'waits for its retry'),
                'its groups are held back') as told,
                _jobs_who_runs(n.queue, case when n.told is null then n.group_key end) as who
            from named n
        )
        select string_agg(format('%s (%s%s throttled; %s%s)', b.queue, b.jobs,
                                 case when b.capped then '+' else '' end, b.told,
                                 ': ' || case when b.told like '% run' then b.who end),
                          ', ' order by b.queue),
            bool_or(b.age > '1 minute' or b.told like '%is 0')
        into v_throttled, v_is_stuck
        from blamed b;

        with held as (
            select g.queue, g.group_key, g.held_until, g.due, g.oldest,
                row_number() over (order by g.held_until desc, g.queue, g.group_key) as place
            from (
                select g.queue, g.group_key, min(g.held_until) as held_until, sum(g.due) as due,
                    min(g.oldest) as oldest
                from _jobs_groups(20, c_max_groups, 20000, true) g
                where g.held_until is not null
                group by 1, 2
            ) g
            where g.due > 0
        )
        select string_agg(format('group %s of queue %s (%s wait for job %s, until its retry in %s)',
                                 h.group_key, h.queue, h.due, (
                    select j.id from jobs j
                    where j.queue = h.queue and j.group_key = h.group_key
                        and j.group_key is not null and j.finished_at is null
                        and j.status = 'pending' and j.run_at = h.held_until
                    limit 1), date_trunc('second', h.held_until - clock_timestamp())),
                    ', ' order by h.place) filter (where h.place <= c_max_named)
                || case when count(*) > c_max_named
                    then format(', and %s more', count(*) - c_max_named) else '' end,
            bool_or(h.oldest < clock_timestamp() - interval '1 minute'
                    or h.held_until > clock_timestamp() + interval '1 minute')
        into v_held, v_is_held_long
        from held h;

        with turnless as (
            select w.queue, w.group_key, row_number() over (order by w.queue, w.group_key) as place
            from _jobs_groups_without_turn(c_max_groups_without_turn) w
            group by 1, 2
        )
        select string_agg(format('%s of queue %s', t.group_key, t.queue), ', ' order by t.place)
                filter (where t.place <= c_max_named)
            || case when count(*) > c_max_named
                then format(', and %s more', count(*) - c_max_named) else '' end
        into v_turnless
        from turnless t;
    end if;
    return query values
        ('throttled queues', case when v_is_stuck then 'warn' else 'ok' end,
         coalesce(v_throttled, 'none: a claim could take a job of each queue that has due ones'),
         'their limits let nothing start: wait for an end, see what runs for long (pgjobs show ID) '
             'and cancel it if it hangs (pgjobs cancel ID), or raise the limit (pgjobs limit QUEUE)'),
        ('groups held by a retry', case when v_is_held_long then 'warn' else 'ok' end,
         coalesce(v_held, 'none'),
         'in order, the others of the group wait for the retry of this job: see its error (pgjobs '
             'show ID); to let the others start, give it up: pgjobs cancel ID'),
        ('groups without a turn', case when v_turnless is not null then 'bad' else 'ok' end,
         coalesce(v_turnless, 'none'),
         'no claim looks at them: rows were changed by hand, or triggers were disabled; '
             'select jobs_heal_groups(), until it returns 0');
end
$$;

comment on function _jobs_doctor_limits is
    'internal: the doctor''s checks of what limits hold back, and of groups that no claim looks at';

-- functions/doctor/_jobs_doctor_notify.sql
-- PostgreSQL does not tell how far each listener has read. A listener falls behind if it is within
-- a transaction, because it reads nothing until the transaction ends, or if its client takes
-- nothing from the socket. This check names the oldest such session.
create or replace function _jobs_doctor_notify()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
as $$
with suspect as (
    select s.* from (select) one left join (
        select a.pid, format('pid %s (%s, user %s, %s, since %s)', a.pid,
                      coalesce(nullif(a.application_name, ''), '?'), a.usename,
                      case a.wait_event when 'ClientWrite' then 'its client does not read'
                          else a.state end,
                      date_trunc('second', clock_timestamp() - a.state_change)) as who
        from pg_stat_activity a
        where a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
            and (a.wait_event = 'ClientWrite' or a.state like 'idle in transaction%')
        order by a.wait_event = 'ClientWrite' desc, a.state_change
        limit 1
    ) s on true
)
select 'notification queue',
    case when u.usage >= 0.5 then 'bad' when u.usage >= 0.1 then 'warn' else 'ok' end,
    format('%s %% full%s', round(u.usage::numeric * 100, 1), case
        when u.usage < 0.1 then ''
        when s.pid is not null then '; probably behind: ' || s.who
        else '; it is unknown which listener is behind' end),
    case when s.pid is not null then format('end the listener that is behind: '
            'select pg_terminate_backend(%s); half full: workers only tick', s.pid)
        else format('end the listener that is behind; to see which one: '
            'grant pg_read_all_stats to %I', current_user) end
from pg_notification_queue_usage() u(usage), suspect s
$$;

comment on function _jobs_doctor_notify is
    'internal: the doctor''s check of the queue of notifications, which all databases share';

-- functions/doctor/_jobs_doctor_retention.sql
-- many: so many ended jobs without a rule are a warning. How many have ended is what the last
-- vacuum or analyze counted: ix_jobs_status has an entry for each job that is not pending.
create or replace function _jobs_doctor_retention(many bigint default 1000000)
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
as $$
with rules as (
    select r.status || coalesce(' of ' || r.job_type, '') as name, r.keep_for, r.error,
        clock_timestamp() - r.next_at as late
    from jobs_retention r
)
select 'retention',
    case when r.rules = 0 and c.reltuples >= many then 'warn' else 'ok' end,
    case when r.rules = 0
            then 'no rule; ' || case
                when c.reltuples < 1 then 'no job that has ended was counted yet'
                when c.reltuples = 1 then 'about 1 job has ended'
                else format('about %s jobs have ended', c.reltuples::bigint) end
        else r.detail end,
    'say how long they stay: pgjobs retain set completed 7d, or app.retain(...) in code; '
        'select jobs_retain(''completed'', ''1000 years'') says that they all stay'
from pg_class c, (
    select count(*) as rules, string_agg(format('%s %s', u.name, u.keep_for), ', '
                                         order by u.name) as detail
    from rules u
) r
where c.oid = 'ix_jobs_status'::regclass
union all
select 'overdue retention',
    case when count(*) > 0 then 'warn' else 'ok' end,
    coalesce(string_agg(format('%s (for %s)', u.name, date_trunc('second', u.late)), ', '
                        order by u.name), 'none'),
    'any running worker deletes: pgjobs worker MODULE:APP; without one: pgjobs cleanup'
from rules u where u.late > '10 minutes'
union all
select 'jobs that cannot be deleted',
    case when count(*) > 0 then 'bad' else 'ok' end,
    coalesce(string_agg(format('%s (%s)', u.name, u.error), ', ' order by u.name), 'none'),
    'change what keeps the job: a foreign key to jobs needs "on delete cascade" or "set null"; '
        'then give the rule again, by pgjobs retain set'
from rules u where u.error is not null
$$;

comment on function _jobs_doctor_retention is
    'internal: the doctor''s checks of how long ended jobs stay';

-- functions/doctor/_jobs_doctor_schedules.sql
-- Acts as its owner, because an observer may not read the payloads in jobs_schedules.
create or replace function _jobs_doctor_schedules()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile security definer
set search_path from current
as $$
with active as (
    select s.* from jobs_schedules s where s.paused_at is null and s.next_at is not null
), late as (
    select s.name, clock_timestamp() - s.next_at as age
    from active s where s.next_at < clock_timestamp() - interval '1 minute'
), connected as (
    select w.queues, w.job_types
    from jobs_workers w
    join _jobs_worker_modes() m on m.worker = w.worker
    where m.mode <> 'gone'
), unserved as (
    select s.name, s.job_type, s.queue from active s
    where exists (select from connected)
        and not exists (
            select from connected c
            where s.queue = any (c.queues)
                and (c.job_types is null or s.job_type = any (c.job_types)))
), runs as (
    -- A job that is deleted has mostly been completed.
    select s.name, s.overlap, r.place, coalesce(j.status, 'completed') as status,
        j.started_at is null as is_unstarted,
        row_number() over (partition by s.name, j.status in ('pending', 'processing') is true
                           order by r.place) as place_among_such
    from active s
    cross join lateral unnest(s.recent_job_ids) with ordinality r(job_id, place)
    left join jobs j on j.id = r.job_id
), ended as (
    select r.* from runs r where r.status not in ('pending', 'processing')
), failing as (
    select e.name from ended e
    where e.place_among_such <= 3
    group by 1
    having count(*) filter (where e.status = 'failed') = 3
), starving as (
    -- Three ticks have passed since that of the job that is in the way.
    select s.name from active s
    join runs r on r.name = s.name and r.place = 1 and r.status in ('pending', 'processing')
    cross join lateral (select _jobs_schedule_next(s, s.last_at) as at) first
    cross join lateral (select _jobs_schedule_next(s, first.at) as at) second
    where s.overlap = 'skip' and _jobs_schedule_next(s, second.at) <= clock_timestamp()
    union
    select e.name from ended e
    where e.overlap = 'replace' and e.place_among_such <= 3
    group by 1
    having count(*) filter (where e.status = 'cancelled' and e.is_unstarted) = 3
)
select 'overdue schedules',
    case when count(*) = 0 then 'ok' when max(l.age) < '10 minutes' then 'warn' else 'bad' end,
    coalesce(string_agg(format('%s (for %s)', l.name, date_trunc('second', l.age)), ', '
                        order by l.name), 'none'),
    'any running worker fires them: pgjobs worker MODULE:APP; without one: '
        'select count(*) from jobs_schedules_fire()'
from late l
union all
select 'schedules without a handler',
    case when count(*) > 0 then 'bad' else 'ok' end,
    coalesce(string_agg(format('%s (%s in queue %s)', u.name, u.job_type, u.queue), ', '
                        order by u.name), 'none'),
    'start a worker that serves the queue and has a handler for the type, or pgjobs schedule '
        'remove NAME'
from unserved u
union all
select 'schedules that end badly',
    case when count(*) > 0 then 'bad' else 'ok' end,
    coalesce(string_agg(f.name, ', ' order by f.name), 'none'),
    'the last three runs failed: read why (pgjobs list --status failed), mend the handler, then '
        'pgjobs schedule run NAME'
from failing f
union all
select 'schedules that skip themselves',
    case when count(*) > 0 then 'warn' else 'ok' end,
    coalesce(string_agg(s.name, ', ' order by s.name), 'none'),
    'their jobs wait or run for longer than the time between two ticks: start more workers, run '
        'them less often, or let them overlap (--overlap allow)'
from starving s
union all
select 'schedules with an error',
    case when count(*) > 0 then 'bad' else 'ok' end,
    coalesce(string_agg(case when _jobs_may_read() then format('%s (%s)', s.name, left(s.error, 200))
                             else s.name end, ', ' order by s.name), 'none'),
    'no job was added at the last tick: change the schedule (pgjobs schedule add), or remove it'
from active s where s.error is not null
$$;

comment on function _jobs_doctor_schedules is
    'internal: the doctor''s checks of schedules and of their latest jobs';

-- functions/doctor/_jobs_doctor_schema.sql
create or replace function _jobs_doctor_schema()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
as $$
with expected(index_name) as (
    values ('jobs_id_is_the_key'), ('ix_jobs_claim'), ('ix_jobs_crashed'), ('ix_jobs_expires'),
        ('ix_jobs_unique_key'), ('ix_jobs_job_type'), ('ix_jobs_status'),
        ('ix_jobs_reference_id'), ('ix_jobs_reference'),
        ('ix_jobs_reference_key'), ('ix_jobs_group')
), broken as (
    select string_agg(e.index_name || case when i.indexrelid is null then ' (missing)'
                          else ' (invalid)' end, ', ' order by e.index_name) as names,
        string_agg(case when i.indexrelid is not null
                       then format('drop index %s; ', i.indexrelid::regclass) else '' end,
            '') as drops
    from expected e
    left join pg_index i on i.indrelid = 'jobs'::regclass
        and i.indexrelid = (select c.oid from pg_class c where c.relname = e.index_name
                            and c.relnamespace = quote_ident(current_schema())::regnamespace)
    where i.indexrelid is null or not i.indisvalid or not i.indisready
), open_functions as (
    select string_agg(p.proname, ', ' order by p.proname) as names
    from pg_proc p
    where p.pronamespace = quote_ident(current_schema())::regnamespace and p.proname ~ '^_?jobs_'
        and p.prosecdef and has_function_privilege('public', p.oid, 'execute')
)
select 'indexes', case when b.names is null then 'ok' else 'bad' end,
    coalesce(b.names, 'all there and valid'),
    format('%spgjobs sql | psql -v schema=%s makes them again', b.drops, current_schema())
from broken b
union all
select 'persistence',
    case t.relpersistence when 'p' then 'ok' else 'bad' end,
    case t.relpersistence when 'p' then 'logged'
        else 'unlogged: a crash empties the table jobs' end,
    'alter table jobs set logged'
from pg_class t where t.oid = 'jobs'::regclass
union all
select 'notifying trigger',
    case when g.tgenabled in ('O', 'A') then 'ok' else 'bad' end,
    case when g.tgenabled in ('O', 'A') then 'enabled' when g.tgenabled is null then 'missing'
        else 'disabled: workers find new jobs by ticks only' end,
    case when g.tgenabled is null then 'pgjobs migrate makes it again'
        else 'alter table jobs enable trigger jobs_notify' end
from (select) one
left join pg_trigger g on g.tgrelid = 'jobs'::regclass and g.tgname = 'jobs_notify'
union all
select 'privileges',
    case when o.names is not null or p.may_create then 'bad' else 'ok' end,
    case when o.names is not null then 'anybody may call ' || o.names
        when p.may_create then format('anybody may create objects in schema %I, and the functions'
            ' would use those', current_schema())
        else 'nobody may call the functions without a grant' end,
    case when o.names is not null then 'pgjobs migrate revokes that; then grant by pgjobs grant'
        else format('revoke create on schema %I from public', current_schema()) end
from open_functions o,
    (select has_schema_privilege('public', current_schema(), 'create') as may_create) p
union all
select 'objects of other roles', case when s.objects is null then 'ok' else 'bad' end,
    coalesce(s.objects || ': the functions of pgjobs might run them', 'none'),
    format('drop them, or give them to %1$s: alter ... owner to %1$s', t.relowner::regrole)
from pg_class t
cross join lateral _jobs_objects_of_strangers(current_schema(), t.relowner) s(objects)
where t.oid = 'jobs'::regclass
union all
select 'ids', case when i.mend is null then 'ok' else 'bad' end,
    case when i.mend is null then 'the next ids are free'
        else 'the sequence of jobs.id is behind: enqueueing fails, because rows have the next ids'
        end,
    i.mend
from _jobs_ids_behind() i(mend)
union all
select 'version', 'ok', jobs_version(), null
$$;

comment on function _jobs_doctor_schema is
    'internal: the doctor''s checks that table, indexes, trigger and privileges are as installed';

-- functions/doctor/_jobs_doctor_vacuum.sql
-- held_for: a snapshot that is held for longer is a warning; ten times as long is bad.
create or replace function _jobs_doctor_vacuum(held_for interval default '5 minutes')
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
as $$
with holders as (
    select format('pid %s (%s, user %s, %s)', a.pid, coalesce(nullif(a.application_name, ''), '?'),
                  a.usename, a.state) as who,
        clock_timestamp() - a.xact_start as held,
        greatest(age(a.backend_xmin), age(a.backend_xid)) as transactions,
        format('end it: select pg_terminate_backend(%s)', a.pid) as advice
    from pg_stat_activity a
    where (a.datname = current_database() or a.datname is null) and a.pid <> pg_backend_pid()
        and a.backend_type <> 'autovacuum worker'
        and coalesce(a.backend_xmin, a.backend_xid) is not null
    union all
    select format('the prepared transaction %L of %s', p.gid, p.owner),
        clock_timestamp() - p.prepared, age(p.transaction),
        format('rollback prepared %L, or commit it', p.gid)
    from pg_prepared_xacts p where p.database = current_database()
    union all
    -- A slot has no time: it counts as old once it keeps a million transactions.
    select format('the replication slot %s', s.slot_name),
        case when age(s.xmin) > 1000000 then held_for * 11 else '0' end, age(s.xmin),
        format('if its standby is gone: select pg_drop_replication_slot(%L)', s.slot_name)
    from pg_replication_slots s where s.xmin is not null
), hidden as (
    select string_agg(distinct a.usename, ', ') as users
    from pg_stat_activity a
    where a.datname = current_database() and a.usesysid is not null
        and not pg_has_role(a.usesysid, 'usage')
        and not pg_has_role('pg_read_all_stats', 'usage')
), oldest as (
    select h.* from (select) one left join (
        select * from holders h order by h.held desc, h.transactions desc limit 1
    ) h on true
), dead as (
    -- What pg_stat_all_tables shows, without the joins of that view.
    select s.rows, s.live, s.vacuumed,
        case when s.rows > 100000 + s.live then 'bad'
            when s.rows > 10000 + s.live / 5 then 'warn' else 'ok' end as verdict
    from (
        select pg_stat_get_dead_tuples('jobs'::regclass) as rows,
            pg_stat_get_live_tuples('jobs'::regclass) as live,
            greatest(pg_stat_get_last_autovacuum_time('jobs'::regclass),
                     pg_stat_get_last_vacuum_time('jobs'::regclass)) as vacuumed
    ) s
)
select 'oldest snapshot',
    case when o.held > 10 * held_for then 'bad' when o.held > held_for then 'warn'
        when h.users is not null then 'warn' else 'ok' end,
    case when o.held > held_for or (o.held is not null and h.users is null)
            then format('%s has held back vacuum for %s, %s transactions', o.who,
                        date_trunc('second', o.held), o.transactions)
        when h.users is not null then format('unknown for the sessions of %s', h.users)
        else 'none holds back vacuum' end,
    case when o.held > held_for then o.advice
        else format('to see all: grant pg_read_all_stats to %I', current_user) end
from oldest o, hidden h
union all
select 'dead rows', d.verdict,
    format('%s dead, %s live; last vacuum %s', d.rows, d.live,
           coalesce(date_trunc('second', clock_timestamp() - d.vacuumed) || ' ago', 'unknown')),
    'see oldest snapshot, above; then: vacuum jobs'
from dead d
union all
select 'autovacuum',
    case when c.off is null then 'ok' else 'bad' end,
    coalesce(c.off, 'on'),
    case when c.off like '%jobs' then 'alter table jobs reset (autovacuum_enabled)'
        else 'switch autovacuum and track_counts on in postgresql.conf, then reload' end
from (
    select case
            when 'false' in (current_setting('autovacuum')::boolean::text,
                             current_setting('track_counts')::boolean::text)
                then 'off for the whole server'
            when exists (select from pg_options_to_table(t.reloptions) o
                         where o.option_name = 'autovacuum_enabled' and not o.option_value::boolean)
                then 'off for the table jobs'
        end as off
    from pg_class t where t.oid = 'jobs'::regclass
) c
$$;

comment on function _jobs_doctor_vacuum is
    'internal: the doctor''s checks of what keeps dead rows in the table, and which session';

-- functions/doctor/_jobs_doctor_workers.sql
create or replace function _jobs_doctor_workers()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
with registered as (
    select w.*, m.mode, m.unseen, m.hangs, m.mode <> 'gone' as connected
    from jobs_workers w
    join _jobs_worker_modes() m on m.worker = w.worker
), due as materialized (
    -- The type is null where jobs_counts does not tell the types of the queue apart, and the queue
    -- where jobs_counts does not tell the queues apart: a worker may serve them.
    select c.queue, c.job_type, c.jobs, c.capped, c.oldest_due as age,
        c.jobs || case when c.capped then '+' else '' end as count,
        q.paused_at is not null and coalesce(q.paused_until > clock_timestamp(), true) as paused,
        concat_ws(': ', 'until ' || date_trunc('second', q.paused_until), q.pause_reason) as pause,
        c.queue is null or exists (
            select from registered r
            where r.connected and c.queue = any (r.queues)
                and (c.job_type is null or r.job_types is null or c.job_type = any (r.job_types))
        ) as served
    from _jobs_counts(1000, due_only => true) c
    left join jobs_queues q on q.queue = c.queue
    where c.state = 'due' and c.jobs > 0
), oldest as (
    select d.* from (select) one left join (
        select * from due d where not d.paused order by d.age desc limit 1
    ) d on true
), paused as (
    select string_agg(p.detail, ', ' order by p.queue) as detail
    from (
        select d.queue, format('%s (%s%s due%s)', d.queue, sum(d.jobs),
                               case when bool_or(d.capped) then '+' else '' end,
                               ', ' || nullif(d.pause, '')) as detail
        from due d where d.paused group by d.queue, d.pause
    ) p
), long as (
    select string_agg(format('%s (for %s%s)', q.queue,
                             date_trunc('second', clock_timestamp() - q.paused_at),
                             ', ' || q.pause_reason), ', ' order by q.queue) as detail
    from jobs_queues q
    where q.paused_until is null and q.paused_at < clock_timestamp() - interval '1 hour'
), unserved as (
    select d.queue, d.job_type, d.count, (
        select case when count(*) > 1 then 'the queues ' else 'queue ' end
            || string_agg(e.queue, ', ' order by e.queue)
        from (
            select distinct q.queue
            from registered r cross join lateral unnest(r.queues) q(queue)
            where r.connected and d.job_type = any (r.job_types)
            order by q.queue
            limit 3
        ) e) as elsewhere
    from due d where not d.paused and not d.served
), unknown as (
    select case when count(*) > 0
        then format('; the types of %s of the queues are too many to look at', count(*))
        else '' end as detail
    from due d where not d.paused and d.job_type is null
), counts as (
    select count(*) as workers, count(*) filter (where r.connected) as connected,
        count(*) filter (where r.mode = 'polling') as polling, min(r.unseen) as unseen,
        exists (select from due d where not d.paused) as needed,
        -- Clients without a LISTEN connection, psql for one, claim without registering.
        (select count(*) from jobs_list j
         where j.status = 'processing' and coalesce(j.lease_until, 'infinity') > clock_timestamp()
             and not exists (select from jobs_workers w where w.worker = j.worker)) as others
    from registered r
)
select 'oldest due job',
    case when o.age > '1 hour' then 'bad' when o.age > '1 minute' then 'warn' else 'ok' end,
    case when o.age is null then 'none'
        else format('%s in %s has been due for %s%s', coalesce(o.job_type, 'a job'),
                    coalesce('queue ' || o.queue, 'a queue'), date_trunc('second', o.age),
                    u.detail) end,
    case when o.served then 'start more workers, or give them more slots'
        when c.connected = 0 then 'see the check workers'
        else 'no worker takes it: see the check jobs without a handler' end
from oldest o, unknown u, counts c
union all
select 'paused queues',
    case when p.detail is not null then 'warn' else 'ok' end,
    coalesce(p.detail, 'none with due jobs'),
    'pgjobs resume QUEUE, or select * from jobs_resume(queue)'
from paused p
union all
select 'long pauses',
    case when l.detail is not null then 'warn' else 'ok' end,
    coalesce(l.detail, 'none of over an hour without an end'),
    'if it was forgotten: pgjobs resume QUEUE; if not, say when it ends: pgjobs pause QUEUE --for 8h'
from long l
union all
select 'workers',
    case when c.connected + c.others > 0 then 'ok' when c.needed then 'bad' else 'warn' end,
    case when c.connected = 0 and c.others > 0
            then format('none is connected, others hold %s %s', c.others,
                        case when c.others = 1 then 'job' else 'jobs' end)
        when c.connected = 0 then 'none is connected'
        else format('%s connected, %s of them polling; the last tick was %s ago', c.connected,
                    c.polling, date_trunc('second', c.unseen)) end,
    'start one: pgjobs worker MODULE:APP'
from counts c
union all
select 'workers that are gone',
    case when count(*) > 0 then 'warn' else 'ok' end,
    coalesce(string_agg(format('%s (seen %s ago)', r.worker, date_trunc('second', r.unseen)),
                        ', ' order by r.worker), 'none'),
    'the tick of another worker takes their jobs back, or two calls of jobs_recover() 2 s apart'
from registered r where not r.connected
union all
select 'workers that hang',
    case when count(*) > 0 then 'bad' else 'ok' end,
    coalesce(string_agg(format('%s (seen %s ago)', r.worker, date_trunc('second', r.unseen)),
                        ', ' order by r.worker), 'none'),
    'a handler blocks the event loop, or the process is stopped: restart it'
from registered r where r.hangs
union all
select 'jobs without a handler',
    case when n.detail is not null then 'bad' else 'ok' end,
    coalesce(n.detail, 'none') || u.detail,
    'start a worker that serves the queue and has a handler for the type, or cancel the jobs'
from (
    select string_agg(
        format('%s in queue %s (%s due%s)', coalesce(u.job_type, 'jobs'), u.queue, u.count,
               '; workers have a handler for it in ' || u.elsewhere),
        ', ' order by u.queue, u.job_type) as detail
    from unserved u where exists (select from registered r where r.connected)
) n, unknown u
$$;

comment on function _jobs_doctor_workers is
    'internal: the doctor''s checks of the registered workers, and of due jobs that none claims';

-- functions/doctor/_jobs_why_blocked.sql
-- What no time heals comes first.
create or replace function _jobs_why_blocked(job jobs)
returns table (reason text, detail text, advice text)
language plpgsql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    c_max_read constant int := 10000;
    c_max_named constant int := 5;
    v_flow jobs_flows := (select f from jobs_flows f where f.job_id = job.id);
    v_failed text;
    v_failed_id bigint;
    v_left text;
    v_left_id bigint;
    v_gone bigint;
begin
    with parents as materialized (
        select e.parent_id as id, p.status, p.job_type
        from (select e.parent_id from jobs_flow_edges e where e.child_id = job.id
              limit c_max_read) e
        left join jobs p on p.id = e.parent_id
    ), named as (
        select p.*, p.status in ('failed', 'cancelled') as has_failed,
            row_number() over (partition by p.status in ('failed', 'cancelled') order by p.id)
                as place
        from parents p
        where p.status <> 'completed'
    )
    select string_agg(format('%s (%s, %s)', n.id, n.job_type, n.status), ', ' order by n.id)
            filter (where n.has_failed and n.place <= c_max_named),
        min(n.id) filter (where n.has_failed),
        string_agg(format('%s (%s, %s)', n.id, n.job_type, n.status), ', ' order by n.id)
            filter (where not n.has_failed and n.place <= c_max_named)
            || case when count(*) filter (where not n.has_failed) > c_max_named
                then ' and others' else '' end,
        min(n.id) filter (where not n.has_failed),
        (select min(p.id) from parents p where p.status is null)
    into v_failed, v_failed_id, v_left, v_left_id, v_gone
    from named n;
    return query
    select r.reason, r.detail, r.advice
    from (
        values
        (1, v_flow is null, 'no parents',
         'its row says blocked, and nothing says what it waits for: it was changed by hand',
         format('pgjobs cancel %s, then pgjobs retry %s', job.id, job.id)),
        (2, v_flow.on_parent_failed = 'wait' and v_gone is not null, 'parent gone',
         format('it waits for job %s to complete, which was deleted', v_gone),
         format('give it up, or run it all the same: pgjobs cancel %s, then pgjobs retry %s',
                job.id, job.id)),
        (3, v_flow.on_parent_failed = 'wait' and v_failed is not null, 'parent failed',
         format('it waits for all its parents to complete (on_parent_failed is wait): %s', v_failed),
         format('pgjobs retry %s, or give this one up: pgjobs cancel %s', v_failed_id, job.id)),
        (4, v_flow.is_open, 'open batch',
         format('its batch takes members still; %s of %s have ended',
                v_flow.completed + v_flow.failed + v_flow.cancelled, v_flow.parents),
         format('if its producer is gone: select jobs_batch_close(%s), or pgjobs cancel %s', job.id,
                job.id)),
        (5, v_left is not null, 'parents',
         format('it waits for %s of %s jobs: %s', greatest(job.depends_on_left, 1),
                v_flow.parents, v_left),
         format('pgjobs why %s', v_left_id)),
        (6, v_left is null and v_flow is not null and not v_flow.is_open
            and (v_flow.on_parent_failed <> 'wait' or v_failed is null and v_gone is null),
         'counting', 'its parents have ended, and a worker has still to count that',
         'a worker does so within 10 s; without one: select jobs_recover()')
    ) r(rank, holds, reason, detail, advice)
    where r.holds
    order by r.rank;
end
$$;

comment on function _jobs_why_blocked is
    'internal: what a blocked job waits for, the worst reason first';

-- functions/doctor/_jobs_why_ended.sql
-- The key first: with it a retry would raise.
create or replace function _jobs_why_ended(job jobs)
returns table (reason text, detail text, advice text)
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
select 'key held', format('job %s, which is %s, holds its unique key', h.id, h.status),
    case when h.finished_at is null
        then format('to run this job again: pgjobs cancel %s, then pgjobs retry %s', h.id, job.id)
        else format('job %s keeps the key after its end; to run a job like this one without the '
                    'key: select from jobs_copy(%s)', h.id, job.id) end
from (select) one
cross join lateral _jobs_key_holder(job.job_type, job.unique_key) h
where job.unique_key is not null and h.id <> job.id
union all
select job.status,
    format('it has ended: it %s %s ago, %s', case job.status
            when 'completed' then 'completed' when 'cancelled' then 'was cancelled'
            when 'failed' then 'failed for good' end,
        date_trunc('second', clock_timestamp() - job.finished_at), case
            when job.attempt = 0 then 'before any attempt'
            else format('after %s of it, of which %s lost their worker',
                        job.attempt || case job.attempt when 1 then ' attempt' else ' attempts' end,
                        job.crash_count) end),
    format('%sto run it again: pgjobs retry %s; to run a new job like it: select from jobs_copy(%s)',
           case job.status when 'completed' then ''
               else format('pgjobs show %s tells why; ', job.id) end, job.id, job.id)
$$;

comment on function _jobs_why_ended is
    'internal: how a job has ended, and who holds its unique_key since';

-- functions/doctor/_jobs_why_pending.sql
-- What holds the job back whatever the time is comes first; then what passes by itself.
create or replace function _jobs_why_pending(job jobs)
returns table (reason text, detail text, advice text)
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_max_ahead constant int := 1000;
    v_now timestamptz := clock_timestamp();
    v_is_due boolean := job.run_at <= v_now;
    v_queue jobs_queues := (select q from jobs_queues q where q.queue = job.queue);
    v_told text := case when v_is_due
        and num_nonnulls(v_queue.max_running, v_queue.rate_count) > 0
        then _jobs_told_limit(v_queue) end;
    v_told_group text := case when v_is_due and job.group_key is not null
        and (v_queue.in_order
             or num_nonnulls(v_queue.max_running_per_group, v_queue.group_rate_count) > 0)
        then _jobs_told_group(v_queue, job.group_key) end;
    v_ahead record;
begin
    if v_is_due then
        select a.jobs, a.higher, a.highest into v_ahead from _jobs_ahead(job, c_max_ahead) a;
    else
        select 0 as jobs, 0 as higher, null::int as highest into v_ahead;
    end if;
    return query
    with connected as materialized (
        select w.queues, w.job_types, w.worker, m.mode, m.unseen, m.hangs,
            job.queue = any (w.queues) as serves_queue,
            w.job_types is null or job.job_type = any (w.job_types) as serves_type
        from _jobs_worker_modes() m
        join jobs_workers w on w.worker = m.worker
        where m.mode <> 'gone'
    ), workers as (
        select count(*) as all, count(*) filter (where c.serves_queue) as of_queue,
            count(*) filter (where c.serves_queue and c.serves_type) as serving,
            count(*) filter (where c.serves_queue and c.serves_type and c.hangs) as hanging,
            count(*) filter (where c.serves_queue and c.serves_type and not c.hangs
                             and c.mode <> 'full') as with_slots,
            string_agg(c.worker, ', ' order by c.worker)
                filter (where c.serves_queue and c.serves_type) as names,
            date_trunc('second', min(c.unseen)
                       filter (where c.serves_queue and c.serves_type)) as unseen,
            (select min(q.queue) from connected e cross join lateral unnest(e.queues) q(queue)
             where job.job_type = any (e.job_types)) as elsewhere
        from connected c
    ), reasons as (
        select r.rank, r.reason, r.detail, r.advice,
            row_number() over (order by r.rank) as place
        from workers w
        cross join lateral (
            values
            (1, job.expires_at <= v_now and job.retry_count = 0 and job.crash_count = 0, 'expired',
             format('its latest start was %s ago: the next tick of a worker cancels it',
                    date_trunc('second', v_now - job.expires_at)),
             format('to run it all the same: pgjobs cancel %s, then pgjobs retry %s', job.id,
                    job.id)),
            (2, v_queue.paused_at is not null and coalesce(v_queue.paused_until > v_now, true),
             'paused',
             format('queue %s has been paused for %s', job.queue, concat_ws(
                 ', ', date_trunc('second', v_now - v_queue.paused_at),
                 'until ' || date_trunc('second', v_queue.paused_until), v_queue.pause_reason)),
             format('pgjobs resume %L', job.queue)),
            (3, w.serving = 0, 'no worker',
             case when w.all = 0 then 'no worker is connected'
                 when w.of_queue = 0 then format('no connected worker serves queue %s', job.queue)
                 else format('no connected worker of queue %s has a handler for type %s', job.queue,
                             job.job_type) end
                 || coalesce(format('; one has a handler for type %s in queue ', job.job_type)
                             || w.elsewhere, ''),
             case when w.elsewhere is not null
                 then format('pgjobs edit %s --queue %L, or ', job.id, w.elsewhere) else '' end
                 || 'start one that serves both: pgjobs worker MODULE:APP'),
            (4, w.serving > 0 and w.hanging = w.serving, 'worker hangs',
             format('all that serve its queue and type hang: %s, seen last %s ago', w.names,
                    w.unseen),
             'a handler blocks the event loop, or the process is stopped: restart it'),
            (5, v_told is not null and v_told not like 'rate %', 'limit',
             format('queue %s: %s', job.queue, concat_ws(
                 ': ', v_told, case when v_told is not null
                              then _jobs_who_runs(job.queue, null) end)),
             format('wait for an end, cancel one that hangs (pgjobs cancel ID), or raise the limit: '
                    'pgjobs limit %L --max-running N', job.queue)),
            (6, v_told like 'rate %', 'rate', format('queue %s: %s', job.queue, v_told),
             format('wait, or raise the rate: pgjobs limit %L --rate N/TIME', job.queue)),
            (7, v_told_group is not null, 'group',
             format('group %s: %s', job.group_key, concat_ws(
                 ': ', v_told_group, case when v_told_group is not null
                                    then _jobs_who_runs(job.queue, job.group_key) end)),
             case when v_told_group like 'rate %'
                 then format('wait, or raise the rate: pgjobs limit %L --group-rate N/TIME',
                             job.queue)
                 when v_told_group like 'waits for %'
                 then format('to let the others of the group start, give that job up: pgjobs cancel '
                             '%s', substring(v_told_group from '[0-9]+$'))
                 else format('wait for an end, cancel one that hangs (pgjobs cancel ID), or raise '
                             'the limit: pgjobs limit %L --max-running-per-group N', job.queue)
                 end),
            (8, _jobs_is_suspect(job.crash_count, job.max_retries), 'suspect',
             format('it was lost with its worker %s: a worker takes it only while it holds no other '
                    'job that was lost', case when job.crash_count = 1 then 'once'
                    else job.crash_count || ' times' end),
             format('see how those workers ended; if the job is innocent: pgjobs cancel %s, then '
                    'pgjobs retry %s', job.id, job.id)),
            (9, not v_is_due and job.attempt > 0, 'retrying',
             format('it was claimed %s, has spent %s of %s retries, and may start again in %s',
                    case when job.attempt = 1 then 'once' else job.attempt || ' times' end, job.retry_count, job.max_retries,
                    date_trunc('second', job.run_at - v_now) + interval '1 second'),
             format('to start it now: pgjobs edit %s --delay 0s', job.id)),
            (10, not v_is_due and job.attempt = 0, 'not due',
             format('it may start in %s',
                    date_trunc('second', job.run_at - v_now) + interval '1 second'),
             format('to start it now: pgjobs edit %s --delay 0s', job.id)),
            (11, v_is_due and w.serving > w.hanging and w.with_slots = 0, 'no slot',
             format('all that serve its queue and type are full: %s', w.names),
             'wait for an end, start more workers, or give them more slots: pgjobs top shows them'),
            (12, v_ahead.jobs > 0, 'others first',
             format('%s%s before it, %s of them by a higher priority', v_ahead.jobs,
                    case v_ahead.jobs when 1 then ' due job comes'
                        when c_max_ahead then '+ due jobs come' else ' due jobs come' end,
                    v_ahead.higher),
             case when v_ahead.highest < 9
                 then format('to let it go first: pgjobs edit %s --priority %s; ', job.id,
                             v_ahead.highest + 1) else '' end
                 || 'to run all sooner, start more workers, or give them more slots'),
            (13, true, 'due', 'nothing holds it back: the next claim takes it',
             'if it stays so: pgjobs doctor')
        ) r(rank, holds, reason, detail, advice)
        where r.holds
    )
    -- That nothing holds it back is told only where that is so.
    select r.reason, r.detail, r.advice
    from reasons r
    where r.rank < 13 or r.place = 1
    order by r.rank;
end
$$;

comment on function _jobs_why_pending is
    'internal: why a pending job does not start, the worst reason first';

-- functions/doctor/_jobs_why_processing.sql
create or replace function _jobs_why_processing(job jobs)
returns table (reason text, detail text, advice text)
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
with holder as (
    -- The mode is null where the worker is not registered, as that of a client without LISTEN.
    select m.mode, date_trunc('second', m.unseen) as unseen, coalesce(m.hangs, false) as hangs,
        date_trunc('second', clock_timestamp() - job.lease_until) as overdue,
        format('worker %s has held it for %s', job.worker, date_trunc(
            'second', clock_timestamp() - coalesce(job.started_at, job.updated_at))) as told,
        format('select count(*) from jobs_recover(%L)', job.worker) as recover
    from (select) one
    left join _jobs_worker_modes() m on m.worker = job.worker
), reasons as (
    select w.rank, w.reason, h.told || w.detail as detail, w.advice,
        row_number() over (order by w.rank) as place
    from holder h
    cross join lateral (
        values
            (1, h.mode = 'gone', 'worker gone',
             format(', and has no session; it was seen %s ago', h.unseen),
             'the tick of another worker takes the job back within 10 s; at once: ' || h.recover),
            (2, h.mode is null and h.overdue >= '0', 'lease over',
             format(', and its lease ended %s ago', h.overdue),
             'the tick of a worker takes the job back within 10 s; at once: ' || h.recover),
            (3, h.mode is null and job.lease_until is null, 'no lease',
             ', without a lease, so nothing takes the job back by itself',
             'if that worker is gone: ' || h.recover),
            (4, h.hangs, 'worker hangs', format(', and was seen last %s ago', h.unseen),
             'a handler blocks its event loop, or its process is stopped: restart it'),
            (5, job.cancel_requested_at is not null, 'cancelling',
             format(', and was asked %s ago to stop it',
                    date_trunc('second', clock_timestamp() - job.cancel_requested_at)),
             'if the handler does not stop, restart the worker'),
            (6, true, 'running', format(', as attempt %s', job.attempt),
             format('if it hangs: pgjobs cancel %s', job.id))
    ) w(rank, holds, reason, detail, advice)
    where w.holds
)
-- That it runs is told only where nothing is wrong.
select r.reason, r.detail, r.advice
from reasons r
where r.rank < 6 or r.place = 1
order by r.rank
$$;

comment on function _jobs_why_processing is
    'internal: who runs a job, and what is wrong with that worker or its lease';

-- views: what an observer may read
-- views/jobs_batches.sql
-- Counted when a worker counts, so some milliseconds behind the members. open: more members may
-- come from outside.
create or replace view jobs_batches as
select f.job_id as batch_id,
    f.parents as total,
    f.completed,
    f.failed,
    f.cancelled,
    f.is_open as open
from jobs_flows f
where f.is_batch;

comment on view jobs_batches is
    'per batch: how many members it has, and what became of them; batch_id: the callback''s id';

-- views/jobs_list.sql
-- What an observer may see of each job: not payload, headers, progress, result, keys, backoff. The
-- error may quote the payload, so only roles that may read the table itself see the error.
create or replace view jobs_list as
select j.id,
    j.queue,
    j.job_type,
    j.status,
    j.priority,
    j.reference_type,
    j.reference_id,
    j.reference_key,
    j.group_key,
    j.batch_id,
    j.retry_count,
    j.max_retries,
    j.crash_count,
    j.attempt,
    j.run_at,
    j.expires_at,
    j.depends_on_left,
    j.worker,
    j.lease_until,
    j.cancel_requested_at,
    j.created_at,
    j.updated_at,
    j.started_at,
    j.finished_at,
    statement_timestamp() - case j.status
        when 'pending' then j.run_at
        when 'processing' then coalesce(j.started_at, j.updated_at)
        when 'blocked' then j.created_at
        else j.finished_at end as age,
    case when has_table_privilege('jobs'::regclass, 'select') then j.error end as error
from jobs j;

comment on view jobs_list is
    'jobs without payloads; age: since due, started, finished, or created (blocked)';

-- views/jobs_schedule_list.sql
-- What an observer may see of each schedule: not the payload, nor what code declared. The error may
-- quote the payload, so only roles that may read the table itself see the error.
create or replace view jobs_schedule_list as
select s.name,
    s.job_type,
    s.cron,
    s.every,
    s.timezone,
    s.queue,
    s.priority,
    s.max_retries,
    s.group_key,
    s.missed,
    s.missed_within,
    s.overlap,
    s.starts_at,
    s.ends_at,
    s.paused_at,
    s.next_at,
    s.last_at,
    s.recent_job_ids,
    s.declared is not null as is_declared,
    s.created_at,
    s.updated_at,
    case when has_table_privilege('jobs_schedules'::regclass, 'select') then s.error end as error
from jobs_schedules s;

comment on view jobs_schedule_list is
    'schedules without payloads; is_declared: code declares or declared it';

-- views/jobs_stats.sql
-- Where a queue has limits or groups, the oldest due job is the oldest that a claim could take now.
create or replace view jobs_stats as
select s.queue,
    s.job_type,
    s.status,
    s.count,
    case when s.status <> 'pending' then null
        when q.queue is null then s.oldest_due
        else (select max(c.oldest_due) from _jobs_counts(10000, true) c
              where c.state = 'due' and c.queue = s.queue
                  and coalesce(c.job_type, s.job_type) = s.job_type) end as oldest_due
from (
    select j.queue,
        j.job_type,
        j.status,
        count(*) as count,
        clock_timestamp() - min(j.run_at) filter (
            where j.status = 'pending' and j.run_at <= clock_timestamp()) as oldest_due
    from jobs j
    group by j.queue, j.job_type, j.status
) s
left join jobs_queues q on q.queue = s.queue
    and (q.has_groups or num_nonnulls(q.max_running, q.rate_count) > 0);

comment on view jobs_stats is
    'per queue, type and status: how many jobs, and for how long the oldest due one has waited';

-- end of the generated list
-- install/regrant.sql
-- Gives the functions and views that sql/install/replace.sql dropped, now made again, the owner and
-- the grants that they had.
do $regrant$
declare
    v_new record;
    v_grant record;
begin
    for v_new in
        select lost.owner, lost.granted, lost.grants, lost.kind, case lost.kind
            when 'view' then (
                select c.oid::regclass::text from pg_class c
                where c.relnamespace = quote_ident(current_schema())::regnamespace
                    and c.relname = lost.name)
            else (
                select p.oid::regprocedure::text from pg_proc p
                where p.pronamespace = quote_ident(current_schema())::regnamespace
                    and p.proname = lost.name)
            end as target
        from jsonb_to_recordset(current_setting('pgjobs.lost')::jsonb)
            as lost (name text, kind text, owner text, granted boolean, grants jsonb)
    loop
        if v_new.owner <> current_user then
            execute format('alter %s %s owner to %I', v_new.kind, v_new.target, v_new.owner);
        end if;
        -- Without an ACL the defaults hold: everybody may call a function.
        if v_new.granted then
            execute format('revoke all on %s %s from public',
                case v_new.kind when 'view' then 'table' else v_new.kind end, v_new.target);
        end if;
        for v_grant in
            select * from jsonb_to_recordset(v_new.grants)
                as g (privilege text, "to" text, grantable boolean)
        loop
            execute format('grant %s on %s %s to %s %s', v_grant.privilege,
                case v_new.kind when 'view' then 'table' else v_new.kind end, v_new.target,
                v_grant."to", case when v_grant.grantable then 'with grant option' end);
        end loop;
    end loop;
end
$regrant$;

-- install/grants.sql
-- PostgreSQL lets every role call a new function. Most of ours act as their owner, so PUBLIC loses
-- that right, and jobs_grant gives it role by role. Earlier grants stay. The owner needs none.
do $grants$
declare
    v_function text;
begin
    for v_function in
        select p.oid::regprocedure
        from pg_proc p
        join json_to_recordset(current_setting('pgjobs.signatures')::json) as s (name text)
            on s.name = p.proname
        where p.pronamespace = quote_ident(current_schema())::regnamespace
            and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                        where a.grantee = 0)
    loop
        execute format('revoke all on function %s from public', v_function);
    end loop;
end
$grants$;


commit;
