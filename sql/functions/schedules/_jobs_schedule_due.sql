create or replace function _jobs_schedule_due() returns timestamptz
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
select s.next_at from jobs_schedules s
where s.paused_at is null and s.next_at is not null
order by s.next_at
limit 1
$$;

comment on function _jobs_schedule_due is 'internal: when a schedule is due next; null: none is';
