-- Scope pending holds a key only while its job waits, so another job may hold it by now. All who
-- take several keys take them in this order, so that they never deadlock. Reads the jobs by their
-- ids first, as _jobs_signal_jobs does.
create or replace function _jobs_keyed(job_ids bigint[], out ids bigint[], out keys text[])
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    with named as materialized (
        select j.id, j.job_type, j.unique_key, j.unique_scope, j.cancel_requested_at from jobs j
        where j.id = any (job_ids)
    )
    select coalesce(array_agg(n.id order by n.job_type, n.unique_key), '{}'),
        array_agg(n.unique_key order by n.job_type, n.unique_key)
    into ids, keys
    from named n
    where n.unique_scope = 'pending' and n.unique_key is not null
        and n.cancel_requested_at is null;
end
$$;

comment on function _jobs_keyed is
    'internal: which of these jobs take their unique_key again when they wait again, and the keys';
