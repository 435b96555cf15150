-- oldest_due: for how long the oldest due job has waited; where the count is capped, the oldest of
-- the jobs that were read. due_only: for who reads only the rows of the state due, which cost half
-- as much as all.
create or replace function _jobs_counts(cap int default 10000, due_only boolean default false)
returns table (
    queue text, job_type text, state text, jobs bigint, capped boolean, oldest_due interval
)
language plpgsql stable security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    v_cap int := coalesce(_jobs_counts.cap, 10000);
    -- What this may cost: 0.05 s. A cap above 10,000 may cost more in each respect.
    v_max_groups int := greatest(v_cap, 10000) / 20;
    v_max_rows bigint := greatest(v_cap, 10000)::bigint * 20;
begin
    if v_cap < 1 then
        raise exception using errcode = 'JQ003',
            message = format('cap must be 1 or more, not %s', v_cap);
    end if;
    return query
    with pending as (
        select p.queue, p.job_type, sum(p.due)::bigint as due, bool_or(p.due_capped) as due_capped,
            clock_timestamp() - min(p.oldest) as oldest_due, sum(p.later)::bigint as later,
            sum(p.retrying)::bigint as retrying, bool_or(p.later_capped) as later_capped
        from _jobs_counts_pending(v_cap, v_max_groups, v_max_rows, due_only) p
        group by 1, 2
    )
    select p.queue, p.job_type, s.state, least(s.jobs, v_cap), s.capped or s.jobs > v_cap,
        s.oldest_due
    from pending p
    cross join lateral (values
        ('due', p.due, p.due_capped, p.oldest_due),
        ('later', p.later, p.later_capped, null),
        ('retrying', p.retrying, p.later_capped, null)
    ) s(state, jobs, capped, oldest_due)
    where s.jobs > 0 or s.capped
    union all
    select o.*, null::interval from _jobs_counts_other(v_cap, v_max_groups) o
    where not due_only;
end
$$;

comment on function _jobs_counts is
    'internal: jobs_counts, and for how long the oldest due job has waited';
