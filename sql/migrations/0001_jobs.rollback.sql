drop table if exists jobs_retention;
drop table if exists jobs_attempts;
drop table if exists jobs_ends;
drop table if exists jobs_history;
drop table if exists jobs_totals;
drop table if exists jobs_durations;
drop table if exists jobs_audit;
drop table if exists jobs_watched;
drop view if exists jobs_batches;
drop table if exists jobs_flow_changes;
drop table if exists jobs_flow_edges;
drop table if exists jobs_flows;
drop table if exists jobs_turns;
drop table if exists jobs_turns_from;
drop table if exists jobs_starts;
drop table if exists jobs_schedules;
drop table if exists jobs_worker_ticks;
drop table if exists jobs_workers;
drop table if exists jobs_queues;
drop table if exists jobs;
drop type if exists jobs_parent;
drop domain if exists
    jobs_reference_type, jobs_reference_key, jobs_unique_key, jobs_unique_scope, jobs_priority,
    jobs_count, jobs_crash_count, jobs_moment, jobs_backoff, jobs_group_key, jobs_headers;
