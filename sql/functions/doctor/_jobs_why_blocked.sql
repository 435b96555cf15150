-- What no time heals comes first.
create or replace function _jobs_why_blocked(job jobs)
returns table (reason text, detail text, advice text)
language plpgsql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    c_max_read constant int := 10000;
    c_max_named constant int := 5;
    v_flow jobs_flows := (select f from jobs_flows f where f.job_id = job.id);
    v_failed text;
    v_failed_id bigint;
    v_left text;
    v_left_id bigint;
    v_gone bigint;
begin
    with parents as materialized (
        select e.parent_id as id, p.status, p.job_type
        from (select e.parent_id from jobs_flow_edges e where e.child_id = job.id
              limit c_max_read) e
        left join jobs p on p.id = e.parent_id
    ), named as (
        select p.*, p.status in ('failed', 'cancelled') as has_failed,
            row_number() over (partition by p.status in ('failed', 'cancelled') order by p.id)
                as place
        from parents p
        where p.status <> 'completed'
    )
    select string_agg(format('%s (%s, %s)', n.id, n.job_type, n.status), ', ' order by n.id)
            filter (where n.has_failed and n.place <= c_max_named),
        min(n.id) filter (where n.has_failed),
        string_agg(format('%s (%s, %s)', n.id, n.job_type, n.status), ', ' order by n.id)
            filter (where not n.has_failed and n.place <= c_max_named)
            || case when count(*) filter (where not n.has_failed) > c_max_named
                then ' and others' else '' end,
        min(n.id) filter (where not n.has_failed),
        (select min(p.id) from parents p where p.status is null)
    into v_failed, v_failed_id, v_left, v_left_id, v_gone
    from named n;
    return query
    select r.reason, r.detail, r.advice
    from (
        values
        (1, v_flow is null, 'no parents',
         'its row says blocked, and nothing says what it waits for: it was changed by hand',
         format('pgjobs cancel %s, then pgjobs retry %s', job.id, job.id)),
        (2, v_flow.on_parent_failed = 'wait' and v_gone is not null, 'parent gone',
         format('it waits for job %s to complete, which was deleted', v_gone),
         format('give it up, or run it all the same: pgjobs cancel %s, then pgjobs retry %s',
                job.id, job.id)),
        (3, v_flow.on_parent_failed = 'wait' and v_failed is not null, 'parent failed',
         format('it waits for all its parents to complete (on_parent_failed is wait): %s', v_failed),
         format('pgjobs retry %s, or give this one up: pgjobs cancel %s', v_failed_id, job.id)),
        (4, v_flow.is_open, 'open batch',
         format('its batch takes members still; %s of %s have ended',
                v_flow.completed + v_flow.failed + v_flow.cancelled, v_flow.parents),
         format('if its producer is gone: select jobs_batch_close(%s), or pgjobs cancel %s', job.id,
                job.id)),
        (5, v_left is not null, 'parents',
         format('it waits for %s of %s jobs: %s', greatest(job.depends_on_left, 1),
                v_flow.parents, v_left),
         format('pgjobs why %s', v_left_id)),
        (6, v_left is null and v_flow is not null and not v_flow.is_open
            and (v_flow.on_parent_failed <> 'wait' or v_failed is null and v_gone is null),
         'counting', 'its parents have ended, and a worker has still to count that',
         'a worker does so within 10 s; without one: select jobs_recover()')
    ) r(rank, holds, reason, detail, advice)
    where r.holds
    order by r.rank;
end
$$;

comment on function _jobs_why_blocked is
    'internal: what a blocked job waits for, the worst reason first';
