-- For turns that were inserted by hand, or while the clock was put back.
create or replace function _jobs_lower_turns_from(queues text[]) returns void
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
update jobs_turns_from f
set turns_from = '0001-01-02 00:00:00+00'
where f.queue = any (queues) and f.turns_from > (
    select min(n.turn_at)
    from unnest(_jobs_turn_types(f.queue)) k(job_type)
    cross join lateral (
        select t.turn_at from jobs_turns t
        where t.queue = f.queue and t.job_type = k.job_type
        order by t.turn_at
        limit 1
    ) n)
$$;

comment on function _jobs_lower_turns_from is
    'internal: claims read all turns of those of these queues that have earlier ones than they read';
