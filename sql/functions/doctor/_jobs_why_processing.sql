create or replace function _jobs_why_processing(job jobs)
returns table (reason text, detail text, advice text)
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
with holder as (
    -- The mode is null where the worker is not registered, as that of a client without LISTEN.
    select m.mode, date_trunc('second', m.unseen) as unseen, coalesce(m.hangs, false) as hangs,
        date_trunc('second', clock_timestamp() - job.lease_until) as overdue,
        format('worker %s has held it for %s', job.worker, date_trunc(
            'second', clock_timestamp() - coalesce(job.started_at, job.updated_at))) as told,
        format('select count(*) from jobs_recover(%L)', job.worker) as recover
    from (select) one
    left join _jobs_worker_modes() m on m.worker = job.worker
), reasons as (
    select w.rank, w.reason, h.told || w.detail as detail, w.advice,
        row_number() over (order by w.rank) as place
    from holder h
    cross join lateral (
        values
            (1, h.mode = 'gone', 'worker gone',
             format(', and has no session; it was seen %s ago', h.unseen),
             'the tick of another worker takes the job back within 10 s; at once: ' || h.recover),
            (2, h.mode is null and h.overdue >= '0', 'lease over',
             format(', and its lease ended %s ago', h.overdue),
             'the tick of a worker takes the job back within 10 s; at once: ' || h.recover),
            (3, h.mode is null and job.lease_until is null, 'no lease',
             ', without a lease, so nothing takes the job back by itself',
             'if that worker is gone: ' || h.recover),
            (4, h.hangs, 'worker hangs', format(', and was seen last %s ago', h.unseen),
             'a handler blocks its event loop, or its process is stopped: restart it'),
            (5, job.cancel_requested_at is not null, 'cancelling',
             format(', and was asked %s ago to stop it',
                    date_trunc('second', clock_timestamp() - job.cancel_requested_at)),
             'if the handler does not stop, restart the worker'),
            (6, true, 'running', format(', as attempt %s', job.attempt),
             format('if it hangs: pgjobs cancel %s', job.id))
    ) w(rank, holds, reason, detail, advice)
    where w.holds
)
-- That it runs is told only where nothing is wrong.
select r.reason, r.detail, r.advice
from reasons r
where r.rank < 6 or r.place = 1
order by r.rank
$$;

comment on function _jobs_why_processing is
    'internal: who runs a job, and what is wrong with that worker or its lease';
