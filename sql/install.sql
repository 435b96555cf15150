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

begin;

-- Two installers at the same moment: the second waits here and then finds nothing left to do.
-- \gset keeps psql from printing the results.
set local lock_timeout = '60s';
select pg_advisory_xact_lock(hashtextextended('pgjobs.install.' || :'schema', 0)) as locked
\gset pgjobs_

-- Asked first, since `create schema if not exists` needs the right to create one in any case.
select not exists (select from pg_namespace where nspname = :'schema') as missing \gset pgjobs_
\if :pgjobs_missing
    create schema :"schema";
\endif
set local search_path to :"schema", pg_temp;

\ir session.sql
\ir signatures.sql
\ir check.sql

-- The tables: guarded by the catalogue, so that all of them can be run every time.
\ir migrations/0001_jobs.sql

-- The functions and views: made anew every time.
\ir replace.sql
-- begin of the generated list
\ir functions/jobs_add.sql
\ir functions/jobs_apply_failure.sql
\ir functions/jobs_apply_loss.sql
\ir functions/jobs_blame.sql
\ir functions/jobs_cancel.sql
\ir functions/jobs_channel.sql
\ir functions/jobs_check.sql
\ir functions/jobs_check_batch.sql
\ir functions/jobs_check_claim.sql
\ir functions/jobs_check_failure.sql
\ir functions/jobs_check_floors.sql
\ir functions/jobs_claim.sql
\ir functions/jobs_claim_bound.sql
\ir functions/jobs_claim_crashed.sql
\ir functions/jobs_cleanup.sql
\ir functions/jobs_complete.sql
\ir functions/jobs_complete_many.sql
\ir functions/jobs_delays_fit.sql
\ir functions/jobs_doctor.sql
\ir functions/jobs_doctor_jobs.sql
\ir functions/jobs_doctor_notify.sql
\ir functions/jobs_doctor_schema.sql
\ir functions/jobs_doctor_vacuum.sql
\ir functions/jobs_doctor_workers.sql
\ir functions/jobs_enqueue.sql
\ir functions/jobs_enqueue_many.sql
\ir functions/jobs_fail.sql
\ir functions/jobs_fail_many.sql
\ir functions/jobs_grant.sql
\ir functions/jobs_heartbeat.sql
\ir functions/jobs_held.sql
\ir functions/jobs_hold.sql
\ir functions/jobs_items.sql
\ir functions/jobs_lock.sql
\ir functions/jobs_lock_key.sql
\ir functions/jobs_may_read.sql
\ir functions/jobs_next_due.sql
\ir functions/jobs_notify.sql
\ir functions/jobs_pause.sql
\ir functions/jobs_recover.sql
\ir functions/jobs_release_many.sql
\ir functions/jobs_release_unknown.sql
\ir functions/jobs_resume.sql
\ir functions/jobs_retry.sql
\ir functions/jobs_retry_delay.sql
\ir functions/jobs_retry_many.sql
\ir functions/jobs_start.sql
\ir functions/jobs_types_present.sql
\ir functions/jobs_version.sql
\ir functions/jobs_wake.sql
\ir functions/jobs_worker_rest.sql
\ir functions/jobs_worker_rise.sql
\ir functions/jobs_worker_start.sql
\ir functions/jobs_worker_stop.sql
\ir functions/jobs_worker_tick.sql
\ir functions/jobs_workers_gone.sql
\ir views/jobs_list.sql
\ir views/jobs_stats.sql
-- end of the generated list
\ir regrant.sql
\ir grants.sql

commit;
