-- A producer is silent, that is, sends no signal, while a worker of its queue polls, and holds the
-- queue's gate as a shared lock until its transaction has ended (_jobs_notify). Signals also end
-- while the notification queue is half full (_jobs_signal).
create or replace function _jobs_may_be_silent(worker text, queues text[])
returns table (may_be_silent boolean, others_poll boolean)
language plpgsql volatile
set search_path from current
as $$
begin
    others_poll := exists (
        select from jobs_workers w
        where w.worker <> _jobs_may_be_silent.worker and w.queues && _jobs_may_be_silent.queues
            and _jobs_is_locked(w.polling_key));
    may_be_silent := others_poll or pg_notification_queue_usage() >= 0.5 or exists (
        select from unnest(_jobs_may_be_silent.queues) q(queue)
        cross join lateral (select _jobs_advisory_key('gate', q.queue)) g(key)
        where case when pg_try_advisory_lock(g.key) then not pg_advisory_unlock(g.key)
            else true end);
    return next;
end
$$;

comment on function _jobs_may_be_silent is
    'internal: whether jobs of these queues may be or become claimable without a signal';
