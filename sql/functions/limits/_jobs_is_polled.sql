-- Like _jobs_notify, which says why no signal is needed then: the queue's gate tells workers that
-- this transaction may have news, so that they go on looking until it has ended. A place that was
-- freed may be for a job of any type, so the polling worker has to serve all types that any worker
-- of the queue serves.
create or replace function _jobs_is_polled(queue text) returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
    return (_jobs_is_locked(_jobs_advisory_key('polling 1', queue))
            or _jobs_is_locked(_jobs_advisory_key('polling 2', queue)))
        and exists (
            select from jobs_workers w
            where case
                when queue = any (w.queues)
                    and not exists (
                        select from jobs_workers o
                        where queue = any (o.queues)
                            and not coalesce(o.job_types <@ w.job_types, w.job_types is null))
                    and current_setting('max_prepared_transactions') = '0'
                    and pg_try_advisory_xact_lock_shared(_jobs_advisory_key('gate', queue))
                then _jobs_is_locked(w.polling_key)
                else false
            end);
end
$$;

comment on function _jobs_is_polled is
    'internal: whether a worker polls the queue for all types, so that no signal is needed';
