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
\ir install/session.sql

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

\ir install/signatures.sql
\ir install/check.sql
set local search_path to :"schema", pg_temp;
\ir functions/manage/_jobs_objects_of_strangers.sql
set local search_path to pg_catalog, pg_temp;
\ir install/strangers.sql
set local search_path to :"schema", pg_temp;

-- The tables: guarded by the catalogue, so that all of them can be run every time.
\ir migrations/0001_jobs.sql

-- The functions and views: made anew every time.
\ir install/replace.sql
-- begin of the generated list
-- functions/enqueue: how a job gets in, and how workers are notified
\ir functions/enqueue/jobs_enqueue.sql
\ir functions/enqueue/jobs_enqueue_many.sql
\ir functions/enqueue/_jobs_check_ids.sql
\ir functions/enqueue/_jobs_check_job.sql
\ir functions/enqueue/_jobs_check_unique.sql
\ir functions/enqueue/_jobs_enqueue_together.sql
\ir functions/enqueue/_jobs_give_way.sql
\ir functions/enqueue/_jobs_ids_behind.sql
\ir functions/enqueue/_jobs_is_new.sql
\ir functions/enqueue/_jobs_key_holder.sql
\ir functions/enqueue/_jobs_key_successor.sql
\ir functions/enqueue/_jobs_may_read.sql
\ir functions/enqueue/_jobs_notify.sql
\ir functions/enqueue/_jobs_on_conflict.sql
\ir functions/enqueue/_jobs_unpack.sql
\ir functions/enqueue/_jobs_unpack_flow.sql
\ir functions/enqueue/_jobs_valid_delays.sql
-- functions/claim: how a worker takes due jobs
\ir functions/claim/jobs_claim.sql
\ir functions/claim/jobs_next_due.sql
\ir functions/claim/jobs_start.sql
\ir functions/claim/_jobs_check_claim.sql
\ir functions/claim/_jobs_claim_bound.sql
\ir functions/claim/_jobs_claimed.sql
\ir functions/claim/_jobs_holds_crashed.sql
\ir functions/claim/_jobs_is_any_due.sql
\ir functions/claim/_jobs_is_suspect.sql
\ir functions/claim/_jobs_lock_crashed.sql
\ir functions/claim/_jobs_lock_suspect.sql
\ir functions/claim/_jobs_next_due.sql
\ir functions/claim/_jobs_next_level.sql
\ir functions/claim/_jobs_types_pending.sql
\ir functions/claim/_jobs_types_present.sql
-- functions/finish: how a run ends: completed, failed, given back
\ir functions/finish/jobs_complete.sql
\ir functions/finish/jobs_complete_many.sql
\ir functions/finish/jobs_fail.sql
\ir functions/finish/jobs_fail_many.sql
\ir functions/finish/jobs_release_many.sql
\ir functions/finish/_jobs_after.sql
\ir functions/finish/_jobs_check_batch.sql
\ir functions/finish/_jobs_check_failure.sql
\ir functions/finish/_jobs_complete_and_delete.sql
\ir functions/finish/_jobs_complete_uncounted.sql
\ir functions/finish/_jobs_end_attempt.sql
\ir functions/finish/_jobs_end_attempts.sql
\ir functions/finish/_jobs_is_batch.sql
\ir functions/finish/_jobs_keyed.sql
\ir functions/finish/_jobs_lock.sql
\ir functions/finish/_jobs_lock_fenced.sql
\ir functions/finish/_jobs_lock_fenced_many.sql
\ir functions/finish/_jobs_retry_delay.sql
\ir functions/finish/_jobs_take_key.sql
-- functions/limits: how many jobs of a queue or a group may run or start
\ir functions/limits/jobs_limit.sql
\ir functions/limits/_jobs_check_isolation.sql
\ir functions/limits/_jobs_check_limits.sql
\ir functions/limits/_jobs_claim_groups.sql
\ir functions/limits/_jobs_flag_groups.sql
\ir functions/limits/_jobs_free_places.sql
\ir functions/limits/_jobs_group_types.sql
\ir functions/limits/_jobs_groups_without_turn.sql
\ir functions/limits/_jobs_held_back.sql
\ir functions/limits/_jobs_insert_turns.sql
\ir functions/limits/_jobs_is_polled.sql
\ir functions/limits/_jobs_limits_declare.sql
\ir functions/limits/_jobs_limits_diff.sql
\ir functions/limits/_jobs_limits_of.sql
\ir functions/limits/_jobs_limits_undeclare.sql
\ir functions/limits/_jobs_lower_turns_from.sql
\ir functions/limits/_jobs_next_turn.sql
\ir functions/limits/_jobs_queue_opens_at.sql
\ir functions/limits/_jobs_queue_room.sql
\ir functions/limits/_jobs_queue_room_now.sql
\ir functions/limits/_jobs_raise_turns_from.sql
\ir functions/limits/_jobs_rank.sql
\ir functions/limits/_jobs_room_at.sql
\ir functions/limits/_jobs_share_of_groups.sql
\ir functions/limits/_jobs_spend.sql
\ir functions/limits/_jobs_starts_room.sql
\ir functions/limits/_jobs_told_group.sql
\ir functions/limits/_jobs_told_limit.sql
\ir functions/limits/_jobs_turn_types.sql
\ir functions/limits/_jobs_who_runs.sql
-- functions/lease: how long a job stays held, and how it is taken back
\ir functions/lease/jobs_heartbeat.sql
\ir functions/lease/jobs_progress.sql
\ir functions/lease/jobs_recover.sql
\ir functions/lease/_jobs_reconcile.sql
\ir functions/lease/_jobs_recover.sql
\ir functions/lease/_jobs_recover_own.sql
\ir functions/lease/_jobs_recover_told.sql
\ir functions/lease/_jobs_release_unnamed.sql
\ir functions/lease/_jobs_worker_beat.sql
-- functions/workers: the register of workers, their modes, and signals to them
\ir functions/workers/jobs_channel.sql
\ir functions/workers/jobs_worker_start.sql
\ir functions/workers/jobs_worker_stop.sql
\ir functions/workers/_jobs_advisory_key.sql
\ir functions/workers/_jobs_expire.sql
\ir functions/workers/_jobs_is_locked.sql
\ir functions/workers/_jobs_may_be_silent.sql
\ir functions/workers/_jobs_session_holds.sql
\ir functions/workers/_jobs_signal.sql
\ir functions/workers/_jobs_signal_jobs.sql
\ir functions/workers/_jobs_worker_help.sql
\ir functions/workers/_jobs_worker_mode.sql
\ir functions/workers/_jobs_worker_modes.sql
\ir functions/workers/_jobs_worker_tick.sql
\ir functions/workers/_jobs_worker_watch.sql
\ir functions/workers/_jobs_workers_gone.sql
-- functions/flows: who waits for other jobs, and batches
\ir functions/flows/jobs_batch.sql
\ir functions/flows/jobs_batch_close.sql
\ir functions/flows/jobs_parents.sql
\ir functions/flows/_jobs_check_flow.sql
\ir functions/flows/_jobs_check_refs.sql
\ir functions/flows/_jobs_enqueue_bound.sql
\ir functions/flows/_jobs_enqueue_flow.sql
\ir functions/flows/_jobs_flow_attach.sql
\ir functions/flows/_jobs_flow_cancel.sql
\ir functions/flows/_jobs_flow_count.sql
\ir functions/flows/_jobs_flow_deleted.sql
\ir functions/flows/_jobs_flow_ended.sql
\ir functions/flows/_jobs_flow_join.sql
\ir functions/flows/_jobs_flow_pending.sql
\ir functions/flows/_jobs_flow_recount.sql
\ir functions/flows/_jobs_flow_reopened.sql
\ir functions/flows/_jobs_flow_resolve.sql
\ir functions/flows/_jobs_flow_tell.sql
\ir functions/flows/_jobs_flow_tidy.sql
\ir functions/flows/_jobs_flow_waiting.sql
\ir functions/flows/_jobs_is_needed.sql
-- functions/watching: who waits for the ends of jobs
\ir functions/watching/jobs_outcomes.sql
\ir functions/watching/jobs_watch.sql
\ir functions/watching/_jobs_check_job_ids.sql
\ir functions/watching/_jobs_tell_watchers.sql
\ir functions/watching/_jobs_unwatch.sql
-- functions/schedules: what is enqueued by the clock
\ir functions/schedules/jobs_cron_next.sql
\ir functions/schedules/jobs_schedule.sql
\ir functions/schedules/jobs_schedule_pause.sql
\ir functions/schedules/jobs_schedule_preview.sql
\ir functions/schedules/jobs_schedule_resume.sql
\ir functions/schedules/jobs_schedule_run.sql
\ir functions/schedules/jobs_schedules_fire.sql
\ir functions/schedules/jobs_unschedule.sql
\ir functions/schedules/_jobs_check_schedule.sql
\ir functions/schedules/_jobs_check_timezone.sql
\ir functions/schedules/_jobs_cron_field.sql
\ir functions/schedules/_jobs_cron_fields.sql
\ir functions/schedules/_jobs_cron_next.sql
\ir functions/schedules/_jobs_gap_end.sql
\ir functions/schedules/_jobs_local_moments.sql
\ir functions/schedules/_jobs_schedule_due.sql
\ir functions/schedules/_jobs_schedule_enqueue.sql
\ir functions/schedules/_jobs_schedule_fail.sql
\ir functions/schedules/_jobs_schedule_fire.sql
\ir functions/schedules/_jobs_schedule_lock.sql
\ir functions/schedules/_jobs_schedule_next.sql
\ir functions/schedules/_jobs_schedule_of.sql
\ir functions/schedules/_jobs_schedule_signal.sql
\ir functions/schedules/_jobs_schedule_ticks.sql
\ir functions/schedules/_jobs_schedules_declare.sql
\ir functions/schedules/_jobs_schedules_diff.sql
\ir functions/schedules/_jobs_utc_offset.sql
\ir functions/schedules/_jobs_worker_fire.sql
-- functions/history: how many attempts ended, and how long they took
\ir functions/history/jobs_quantile.sql
\ir functions/history/_jobs_bucket.sql
\ir functions/history/_jobs_count_completed.sql
\ir functions/history/_jobs_count_ends.sql
\ir functions/history/_jobs_ends.sql
\ir functions/history/_jobs_history_add.sql
\ir functions/history/_jobs_history_add_alone.sql
\ir functions/history/_jobs_history_add_durations.sql
\ir functions/history/_jobs_history_add_noted.sql
\ir functions/history/_jobs_history_add_spans.sql
\ir functions/history/_jobs_history_add_totals.sql
\ir functions/history/_jobs_history_tidy.sql
\ir functions/history/_jobs_note_ends.sql
\ir functions/history/_jobs_recent_ends.sql
\ir functions/history/_jobs_seconds.sql
\ir functions/history/_jobs_summed.sql
\ir functions/history/_jobs_told_ends.sql
\ir functions/history/_jobs_totals.sql
-- functions/retention: how long ended jobs stay
\ir functions/retention/jobs_retain.sql
\ir functions/retention/_jobs_retention_begin.sql
\ir functions/retention/_jobs_retention_declare.sql
\ir functions/retention/_jobs_retention_delete_each.sql
\ir functions/retention/_jobs_retention_diff.sql
\ir functions/retention/_jobs_retention_enforce.sql
\ir functions/retention/_jobs_retention_sweep.sql
\ir functions/retention/_jobs_retention_types.sql
-- functions/manage: what an operator does
\ir functions/manage/jobs_cancel.sql
\ir functions/manage/jobs_cancel_many.sql
\ir functions/manage/jobs_cleanup.sql
\ir functions/manage/jobs_copy.sql
\ir functions/manage/jobs_delete_many.sql
\ir functions/manage/jobs_edit.sql
\ir functions/manage/jobs_edit_many.sql
\ir functions/manage/jobs_grant.sql
\ir functions/manage/jobs_heal_groups.sql
\ir functions/manage/jobs_pause.sql
\ir functions/manage/jobs_resume.sql
\ir functions/manage/jobs_retry.sql
\ir functions/manage/jobs_retry_many.sql
\ir functions/manage/jobs_version.sql
\ir functions/manage/_jobs_audit_expire.sql
\ir functions/manage/_jobs_audit_note.sql
\ir functions/manage/_jobs_check_filters.sql
\ir functions/manage/_jobs_check_max_jobs.sql
\ir functions/manage/_jobs_check_queue.sql
\ir functions/manage/_jobs_check_statuses.sql
\ir functions/manage/_jobs_declared.sql
\ir functions/manage/_jobs_filters.sql
\ir functions/manage/_jobs_find.sql
\ir functions/manage/_jobs_forget.sql
\ir functions/manage/_jobs_lock_matching.sql
\ir functions/manage/_jobs_make_pending.sql
\ir functions/manage/_jobs_objects_of_strangers.sql
\ir functions/manage/_jobs_retry_keyed.sql
\ir functions/manage/_jobs_verdict.sql
-- functions/reading: how many jobs there are, and which
\ir functions/reading/jobs_counts.sql
\ir functions/reading/_jobs_audit_search.sql
\ir functions/reading/_jobs_counts.sql
\ir functions/reading/_jobs_counts_other.sql
\ir functions/reading/_jobs_counts_pending.sql
\ir functions/reading/_jobs_error_line.sql
\ir functions/reading/_jobs_failures.sql
\ir functions/reading/_jobs_groups.sql
\ir functions/reading/_jobs_queues_of_groups.sql
\ir functions/reading/_jobs_rates.sql
\ir functions/reading/_jobs_search.sql
\ir functions/reading/_jobs_search_groups.sql
\ir functions/reading/_jobs_search_pending.sql
\ir functions/reading/_jobs_waiting_groups.sql
-- functions/doctor: what is stuck and why
\ir functions/doctor/jobs_doctor.sql
\ir functions/doctor/jobs_why.sql
\ir functions/doctor/_jobs_ahead.sql
\ir functions/doctor/_jobs_doctor_flows.sql
\ir functions/doctor/_jobs_doctor_held.sql
\ir functions/doctor/_jobs_doctor_history.sql
\ir functions/doctor/_jobs_doctor_leases.sql
\ir functions/doctor/_jobs_doctor_limits.sql
\ir functions/doctor/_jobs_doctor_notify.sql
\ir functions/doctor/_jobs_doctor_retention.sql
\ir functions/doctor/_jobs_doctor_schedules.sql
\ir functions/doctor/_jobs_doctor_schema.sql
\ir functions/doctor/_jobs_doctor_vacuum.sql
\ir functions/doctor/_jobs_doctor_workers.sql
\ir functions/doctor/_jobs_why_blocked.sql
\ir functions/doctor/_jobs_why_ended.sql
\ir functions/doctor/_jobs_why_pending.sql
\ir functions/doctor/_jobs_why_processing.sql
-- views: what an observer may read
\ir views/jobs_batches.sql
\ir views/jobs_list.sql
\ir views/jobs_schedule_list.sql
\ir views/jobs_stats.sql
-- end of the generated list
\ir install/regrant.sql
\ir install/grants.sql

commit;
