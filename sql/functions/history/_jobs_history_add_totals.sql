-- The caller has the lock of _jobs_history_add, so no other session adds.
--
-- A total never decreases. So a set of labels that was summed with others once has no row of its own
-- later, unless one has left: a set of which nothing has ended for 60 days.
create or replace function _jobs_history_add_totals(ended jobs_history[]) returns void
language plpgsql volatile
set search_path from current
set enable_mergejoin = off
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_max_sets constant int := 1000;
    v_room constant bigint := c_max_sets - (
        select count(*) from jobs_totals t where t.queue is not null);
begin
    insert into jobs_totals as t (queue, job_type, outcome, jobs, sets, counted_at)
    select l.queue, l.job_type, l.outcome, sum(l.jobs), count(*), clock_timestamp()
    from (
        select case when p.is_own then p.queue end as queue,
            case when p.is_own then p.job_type end as job_type, p.outcome, p.jobs
        from (
            select s.*, s.queue is not null and s.job_type is not null
                and (s.is_there or row_number() over (
                        partition by s.is_there
                        order by s.jobs desc, s.queue, s.job_type, s.outcome) <= v_room) as is_own
            from (
                select e.queue, e.job_type, e.outcome, sum(e.jobs) as jobs,
                    (select true from jobs_totals t
                     where (t.queue, t.job_type, t.outcome)
                         = (e.queue, e.job_type, e.outcome)) as is_there
                from unnest(ended) e
                group by 1, 2, 3
            ) s
        ) p
    ) l
    group by 1, 2, 3
    order by 1, 2, 3
    on conflict (queue, job_type, outcome) do update
    set jobs = t.jobs + excluded.jobs,
        sets = greatest(t.sets, excluded.sets),
        counted_at = excluded.counted_at;
end
$$;

comment on function _jobs_history_add_totals is
    'internal: adds ends of attempts to jobs_totals';
