-- Two sessions cannot both win: the rows are locked before their status is read, the job's own with
-- them, in the order of the ids. So two that cancel downstream never deadlock.
create or replace function _jobs_flow_cancel(job_id bigint, reason text) returns bigint
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
    v_blocked bigint[];
begin
    with recursive below (id) as (
        select _jobs_flow_cancel.job_id
        union
        select e.child_id
        from below b
        cross join lateral (
            select e.child_id from jobs_flow_edges e where e.parent_id = b.id offset 0) e
    )
    select array_agg(b.id) into v_below from below b;
    perform from jobs j where j.id = any (v_below) order by j.id for no key update;
    v_blocked := array(
        select j.id from jobs j
        where j.id = any (v_below) and (j.status = 'blocked') is true
            and j.id <> _jobs_flow_cancel.job_id);
    update jobs j
    set status = 'cancelled',
        error = coalesce(reason, format('job %s, which it waited for, was cancelled',
                                        _jobs_flow_cancel.job_id)),
        updated_at = clock_timestamp(),
        finished_at = clock_timestamp()
    where j.id = any (v_blocked);
    perform _jobs_signal_jobs(v_blocked), _jobs_count_ends(v_blocked);
    return cardinality(v_blocked);
end
$$;

comment on function _jobs_flow_cancel is
    'internal: locks a job and all that wait for it, directly or not, and cancels those that wait;'
    ' returns how many';
