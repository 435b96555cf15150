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
