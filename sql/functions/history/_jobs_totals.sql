-- For monitors: jobs_totals, and what jobs_ends has noted since. sets: how many sets of labels the row
-- sums up, at least.
--
-- No total may decrease. So a set of labels that has no row yet is shown only where there is room for it
-- beyond doubt. Else it is shown when it is added up, some seconds later.
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
    c_max_rows constant int := 20000;  -- as many as are added up at once
    v_room constant bigint := c_max_sets - (
        select count(*) from jobs_totals t where t.queue is not null);
    v_ended jobs_history[];
begin
    begin
        v_ended := array(select e from _jobs_ends(array(
            select n from jobs_ends n order by n.noted_at limit c_max_rows)) e);
    exception when data_exception or program_limit_exceeded then
        v_ended := '{}';  -- until that row is left out by who adds up
    end;
    return query
    with noted as materialized (
        select e.queue, e.job_type, e.outcome, sum(e.jobs) as jobs,
            (select true from jobs_totals t
             where (t.queue, t.job_type, t.outcome)
                 = (e.queue, e.job_type, e.outcome)) as is_there
        from unnest(v_ended) e
        where e.queue is not null and e.job_type is not null
        group by 1, 2, 3
    )
    select s.queue, s.job_type, s.outcome, sum(s.jobs)::bigint, max(s.sets)::bigint
    from (
        select t.queue, t.job_type, t.outcome, t.jobs, t.sets from jobs_totals t
        union all
        select n.queue, n.job_type, n.outcome, n.jobs, 1
        from noted n
        where n.is_there or v_room >= 2 * (select count(*) from noted o where o.is_there is null)
    ) s
    group by 1, 2, 3;
end
$$;

comment on function _jobs_totals is
    'internal: how many attempts have ended since the installation, per queue, type and outcome';
