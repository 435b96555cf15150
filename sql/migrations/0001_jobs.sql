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
