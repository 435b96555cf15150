-- The caller has the lock of _jobs_history_add, so no other session adds.
--
-- As in jobs_totals no histogram ever decreases. Once an hour those that are not busy any more make
-- room for others (_jobs_history_tidy).
create or replace function _jobs_history_add_durations(ended jobs_history[]) returns void
language plpgsql volatile
set search_path from current
set enable_mergejoin = off
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    c_max_types constant int := 100;
    v_room constant bigint := c_max_types - (
        select count(*) from jobs_durations d where d.queue is not null);
    v_labelled jobs_history[];
begin
    select array_agg((
            p.span, '2000-01-01', case when p.is_own then p.queue end,
            case when p.is_own then p.job_type end, '', p.jobs, p.waited_s, p.waits, p.ran_s,
            p.runs)::jobs_history)
    into v_labelled
    from (
        select s.*, s.queue is not null and s.job_type is not null
            and (s.is_there or dense_rank() over (
                    partition by s.is_there
                    order by s.jobs_of_type desc, s.queue, s.job_type) <= v_room) as is_own
        from (
            select e.*,
                sum(e.jobs) over (partition by e.queue, e.job_type) as jobs_of_type,
                (select true from jobs_durations d
                 where (d.queue, d.job_type) = (e.queue, e.job_type)) as is_there
            from unnest(ended) e
        ) s
    ) p;
    insert into jobs_durations as d
    select s.queue, s.job_type, s.waited_s, s.waits, s.ran_s, s.runs
    from _jobs_summed(v_labelled) s
    on conflict (queue, job_type) do update
    set waited_s = d.waited_s + excluded.waited_s,
        waits = array(select u.old + u.more from unnest(d.waits, excluded.waits) u(old, more)),
        ran_s = d.ran_s + excluded.ran_s,
        runs = array(select u.old + u.more from unnest(d.runs, excluded.runs) u(old, more));
end
$$;

comment on function _jobs_history_add_durations is
    'internal: adds ends of attempts to jobs_durations';
