-- For who adds members to these batches. Two sessions: the callback cannot become pending between
-- this check and the commit of the new members, because _jobs_flow_resolve locks the flow `for
-- update` before that. Sessions that add members do not wait for each other, nor for the counting.
--
-- A member that depends on its own callback, or on what comes after the callback, would wait for
-- itself.
create or replace function _jobs_flow_join(batch_ids bigint[], depends_on bigint[]) returns void
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_batch bigint;
    v_status text;
    v_below bigint;
begin
    for v_batch in select distinct b.id from unnest(batch_ids) b(id) where b.id is not null order by 1
    loop
        perform from jobs_flows f where f.job_id = v_batch and f.is_batch for key share;
        if not found then
            raise exception using errcode = 'JQ001',
                message = format('there is no batch %s', v_batch),
                hint = 'A batch is made by jobs_batch; its id is that of its callback.';
        end if;
        -- After the lock: another session may have ended the batch meanwhile.
        select j.status into v_status from jobs j where j.id = v_batch;
        if v_status is distinct from 'blocked' then
            raise exception using errcode = 'JQ002',
                message = format('batch %s takes no more jobs: its callback %s', v_batch,
                                 case when _jobs_may_read()
                                 then 'is ' || coalesce(v_status, 'gone')
                                 else 'waits no more' end);
        end if;
    end loop;
    if depends_on <> '{}' then
        -- Two sessions could make a circle of two batches, if neither saw the other's member. One
        -- waits for the other's commit, and looks in a later statement. Without a parent that waits
        -- there is no circle.
        if exists (select from jobs j where j.id = any (depends_on) and (j.status = 'blocked') is true)
        then
            perform pg_advisory_xact_lock(_jobs_advisory_key('circles', 'of batches'));
        end if;
        with recursive below (id) as (
            select b.id from unnest(batch_ids) b(id) where b.id is not null
            union
            select e.child_id from below b cross join lateral (
            select e.child_id from jobs_flow_edges e where e.parent_id = b.id offset 0) e
        )
        select min(b.id) into v_below from below b where b.id = any (depends_on);
        if v_below is not null then
            raise exception using errcode = 'JQ003',
                message = format('a member of a batch cannot depend on job %s, which runs after the '
                                 'batch', v_below);
        end if;
    end if;
end
$$;

comment on function _jobs_flow_join is
    'internal: raises unless these batches take further members, which may depend on these jobs';
