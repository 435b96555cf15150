-- A worker calls this at the moment of the next tick that it knows. All workers may: who comes second
-- finds nothing due. fires_at: when a schedule is due next; it may be past, while another session
-- fires it.
create or replace function _jobs_worker_fire()
returns table (fired bigint, fires_at timestamptz, fired_at timestamptz)
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
begin
    fired := (select count(*) from jobs_schedules_fire());
    fires_at := _jobs_schedule_due();
    fired_at := clock_timestamp();
    return next;
end
$$;

comment on function _jobs_worker_fire is
    'internal: fires schedules that are due; fires_at: when the next one is due';
