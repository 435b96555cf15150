-- The caller has the lock of _jobs_history_add, so no other session adds.
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
    v_labelled jobs_history[];
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
    )
    select array_agg((
            r.span, r.starts_at, case when l.is_own then r.queue end,
            case when l.is_own then r.job_type end, r.outcome, r.jobs, r.waited_s, r.waits, r.ran_s,
            r.runs)::jobs_history)
    into v_labelled
    from ranked r
    join room m using (span, starts_at)
    cross join lateral (
        select r.queue is not null and r.job_type is not null
            and (r.is_there or r.place <= m.sets) as is_own) l;
    insert into jobs_history as h
    select s.* from _jobs_summed(v_labelled) s
    on conflict (span, starts_at, queue, job_type, outcome) do update
    set jobs = h.jobs + excluded.jobs,
        waited_s = h.waited_s + excluded.waited_s,
        waits = _jobs_plus(h.waits, excluded.waits),
        ran_s = h.ran_s + excluded.ran_s,
        runs = _jobs_plus(h.runs, excluded.runs);
end
$$;

comment on function _jobs_history_add_spans is
    'internal: adds ends of attempts to jobs_history';
