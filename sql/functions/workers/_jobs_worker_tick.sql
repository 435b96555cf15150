-- A tick tests the connection, sets seen_at, recovers lost jobs and looks for due jobs. A worker
-- ticks every 10 s, and every 2 s while other workers work, so that the second tick notices
-- their death.
create or replace function _jobs_worker_tick(worker text)
returns table (watch boolean, due_in interval, peers bigint)
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_me jobs_workers;
begin
    update jobs_workers w set seen_at = clock_timestamp(), missed_at = null
    where w.worker = _jobs_worker_tick.worker
    returning w.* into v_me;
    if not found then
        return;
    end if;
    perform from jobs_recover(sparing => v_me.worker);
    return query
    select exists (select from jobs j
                   where j.status = 'processing' and j.worker <> v_me.worker)
            or exists (select from jobs_workers w
                       where w.worker <> v_me.worker and (w.polling or w.missed_at is not null)),
        -- Long overdue jobs too: no signal is sent when a row's lock is released, or when a worker
        -- that held a suspect may take the next one.
        least(
            jobs_next_due(v_me.queues, v_me.job_types),
            -- In the order of ix_jobs_crashed: planned on an empty table, all indexes of pending
            -- jobs cost the same.
            (select min(c.run_at)
             from (select j.run_at from jobs j
                   where j.status = 'pending' and j.crash_count > 0 and j.queue = any (v_me.queues)
                       and (v_me.job_types is null or j.job_type = any (v_me.job_types))
                   order by j.queue, j.priority, j.run_at, j.id) c)
        ) - clock_timestamp(),
        (select count(*) from jobs_workers w
         where w.worker <> v_me.worker and w.queues && v_me.queues);
end
$$;

comment on function _jobs_worker_tick is
    'internal: tick; watch: tick again in 2 s; due_in: until a job is due; peers: how many';
