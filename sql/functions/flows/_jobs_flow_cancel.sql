-- Two sessions cannot both win: the rows are locked, in the order of their ids, before their status
-- is read.
create or replace function _jobs_flow_cancel(job_id bigint, reason text) returns void
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_below bigint[];
begin
    with recursive below (id) as (
        select e.child_id from jobs_flow_edges e where e.parent_id = _jobs_flow_cancel.job_id
        union
        select e.child_id from below b cross join lateral (
            select e.child_id from jobs_flow_edges e where e.parent_id = b.id offset 0) e
    )
    select array_agg(b.id order by b.id) into v_below from below b;
    v_below := array(
        select j.id from jobs j
        where j.id = any (v_below) and (j.status = 'blocked') is true
        order by j.id
        for no key update);
    update jobs j
    set status = 'cancelled',
        error = coalesce(reason, format('job %s, which it waited for, was cancelled',
                                        _jobs_flow_cancel.job_id)),
        updated_at = clock_timestamp(),
        finished_at = clock_timestamp()
    where j.id = any (v_below);
    perform _jobs_signal_jobs(v_below);
end
$$;

comment on function _jobs_flow_cancel is
    'internal: cancels all jobs that wait for this one, directly or not';
