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
