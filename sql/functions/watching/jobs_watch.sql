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
