-- Called in the transaction in which these jobs end, so that nobody hears of an end before the
-- commit. It tells the ids alone: who may not read a result must not hear it either.
--
-- While the server's notification queue is half full this function sends nothing, because a full
-- queue would make the caller's commit fail. Who waits finds the end by looking.
create or replace function _jobs_tell_watchers(job_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    -- An id has at most 19 digits, and a notification at most 7,999 bytes.
    c_ids_per_notification constant int := 395;
begin
    if pg_notification_queue_usage() >= 0.5 then
        return;
    end if;
    perform pg_notify(jobs_channel('jobs_done'), string_agg(n.job_id::text, ',' order by n.job_id))
    from (
        select d.job_id, (row_number() over (order by d.job_id) - 1) / c_ids_per_notification as part
        from (select distinct w.job_id from jobs_watched w where w.job_id = any (job_ids)) d
    ) n
    group by n.part;
end
$$;

comment on function _jobs_tell_watchers is
    'internal: notifies the ids of those of these jobs that are watched, on commit';
