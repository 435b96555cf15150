-- The caller has the lock of _jobs_history_add, so no other session adds. ended: one row for each set of
-- labels (_jobs_summed).
--
-- The first 1,000 sets of labels of a minute have rows of their own, the busiest of those that come
-- together first. All others are summed in the rows without queue and job_type.
create or replace function _jobs_history_add_spans(ended jobs_history[]) returns void
language plpgsql volatile
set search_path from current
set enable_mergejoin = off
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_max_sets constant int := 1000;
begin
    with placed as (
        select e.*,
            (select true from jobs_history h
             where (h.span, h.starts_at, h.queue, h.job_type, h.outcome)
                 = (e.span, e.starts_at, e.queue, e.job_type, e.outcome)) as is_there
        from unnest(ended) e
    ), ranked as (
        select p.*, row_number() over (
                partition by p.span, p.starts_at, p.is_there
                order by p.jobs desc, p.queue, p.job_type, p.outcome) as place
        from placed p
    ), room as materialized (
        select m.span, m.starts_at, c_max_sets - (
                select count(*) from jobs_history h
                where h.span = m.span and h.starts_at = m.starts_at and h.queue is not null
            ) as sets
        from (select distinct e.span, e.starts_at from unnest(ended) e) m
    ), labelled as materialized (
        select r.*, (r.is_there or r.place <= m.sets) is true and r.queue is not null
            and r.job_type is not null as is_own
        from ranked r
        join room m using (span, starts_at)
    )
    insert into jobs_history as h
    select l.span, l.starts_at, l.queue, l.job_type, l.outcome, l.jobs, l.waited_s, l.waits, l.ran_s,
        l.runs
    from labelled l
    where l.is_own
    union all
    select o.*
    from _jobs_summed(array(
        select (l.span, l.starts_at, null, null, l.outcome, l.jobs, l.waited_s, l.waits, l.ran_s,
                l.runs)::jobs_history
        from labelled l
        where not l.is_own)) o
    on conflict (span, starts_at, queue, job_type, outcome) do update
    set jobs = h.jobs + excluded.jobs,
        waited_s = h.waited_s + excluded.waited_s,
        waits = array(select u.old + u.more from unnest(h.waits, excluded.waits) u(old, more)),
        ran_s = h.ran_s + excluded.ran_s,
        runs = array(select u.old + u.more from unnest(h.runs, excluded.runs) u(old, more));
end
$$;

comment on function _jobs_history_add_spans is
    'internal: adds ends of attempts, one row per set of labels, to jobs_history';
