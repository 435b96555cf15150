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
