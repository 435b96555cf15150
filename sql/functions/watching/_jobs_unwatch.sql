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
