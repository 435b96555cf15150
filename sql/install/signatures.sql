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
