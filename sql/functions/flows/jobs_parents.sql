create or replace function jobs_parents(job_id bigint)
returns setof jobs_parent
language plpgsql stable security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
begin
    perform _jobs_find(jobs_parents.job_id);
    return query
    select p.id, p.job_type, p.status, p.result, p.error
    from jobs_flow_edges e
    cross join lateral (select * from jobs p where p.id = e.parent_id offset 0) p
    where e.child_id = jobs_parents.job_id
    order by p.id;
end
$$;

comment on function jobs_parents is
    'what a job waits or has waited for, the members of a batch too: status, result and error';
