-- Inserts only, so that a producer neither waits nor makes others wait.
--
-- The first job with a group in a queue sets the queue's flag has_groups, so that claims of other
-- queues need not look for turns. Where another session is about to set it or holds the row, this
-- one goes on: a claim that finds nothing, or a worker's tick, sets the flag if it is then missing
-- (_jobs_flag_groups).
create or replace function _jobs_insert_turns(job_ids bigint[]) returns boolean
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_queues text[];
begin
    with named as materialized (
        select j.queue, j.group_key, j.job_type, j.run_at, j.status from jobs j
        where j.id = any (job_ids)
    ), turn as (
        insert into jobs_turns (queue, group_key, job_type, turn_at)
        select n.queue, n.group_key, n.job_type, greatest(min(n.run_at), clock_timestamp())
        from named n
        where n.status = 'pending' and n.group_key is not null
        group by n.queue, n.group_key, n.job_type
        returning queue
    )
    select array_agg(distinct t.queue) into v_queues
    from turn t
    where not exists (select from jobs_queues q where q.queue = t.queue and q.has_groups);
    if v_queues is not null then
        perform _jobs_flag_groups(v_queues);
    end if;
    return true;
end
$$;

comment on function _jobs_insert_turns is
    'internal: claims will look at the groups of those of these jobs that are pending';
