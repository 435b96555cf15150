-- For monitors: jobs_totals, and what jobs_ends has noted since. sets: how many sets of labels the
-- row sums up, at least.
create or replace function _jobs_totals()
returns table (queue text, job_type text, outcome text, jobs bigint, sets bigint)
language plpgsql stable security definer
set search_path from current
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
    c_max_sets constant int := 1000;
    v_room constant bigint := c_max_sets - (
        select count(*) from jobs_totals t where t.queue is not null);
begin
    return query
    with noted as materialized (
        select e.queue, e.job_type, e.outcome, sum(e.jobs) as jobs,
            (select true from jobs_totals t
             where (t.queue, t.job_type, t.outcome)
                 = (e.queue, e.job_type, e.outcome)) as is_there
        from _jobs_ends(array(select n from jobs_ends n)) e
        group by 1, 2, 3
    ), placed as (
        select n.*, n.is_there or row_number() over (
                partition by n.is_there
                order by n.jobs desc, n.queue, n.job_type, n.outcome) <= v_room as is_own
        from noted n
    )
    select s.queue, s.job_type, s.outcome, sum(s.jobs)::bigint, max(s.sets)::bigint
    from (
        select t.queue, t.job_type, t.outcome, t.jobs, t.sets from jobs_totals t
        union all
        select case when p.is_own then p.queue end, case when p.is_own then p.job_type end,
            p.outcome, p.jobs, count(*) over (partition by p.is_own, p.outcome,
                case when p.is_own then p.queue end, case when p.is_own then p.job_type end)
        from placed p
    ) s
    group by 1, 2, 3;
end
$$;

comment on function _jobs_totals is
    'internal: how many attempts have ended since the installation, per queue, type and outcome';
