create or replace function _jobs_worker_modes()
returns table (worker text, mode text, unseen interval, hangs boolean)
language sql volatile
set search_path from current
as $$
with held as materialized (
    select l.classid::bigint << 32 | l.objid::bigint as key
    from pg_locks l
    where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and l.mode = 'ExclusiveLock'
        and l.database = (select d.oid from pg_database d where d.datname = current_database())
)
select m.worker, m.mode, m.unseen, m.mode <> 'gone' and m.unseen > '30 seconds'
from (
    select w.worker, clock_timestamp() - coalesce(t.seen_at, w.started_at) as unseen, case
        when not exists (select from held h where h.key = w.name_key) then 'gone'
        when exists (select from held h where h.key = w.polling_key) then 'polling'
        when exists (select from held h where h.key = w.listening_key) then 'listening'
        else 'full' end as mode
    from jobs_workers w
    left join jobs_worker_ticks t on t.worker = w.worker
) m
$$;

comment on function _jobs_worker_modes is
    'internal: the mode of each registered worker: listening, polling or full; gone: no session; and'
    ' since when it was not seen';
