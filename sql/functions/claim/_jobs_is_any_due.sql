-- For claims of many types, of which most are empty: each worker of many queues makes them again
-- and again. since and until: bounds of run_at.
create or replace function _jobs_is_any_due(
    queue text,
    priority int,
    job_types text[],
    since timestamptz,
    until timestamptz
) returns boolean
language plpgsql stable
set search_path from current
set enable_incremental_sort = off
as $$
begin
    if current_setting('server_version_num')::int >= 170000 then
        -- One scan of the index goes from type to type: it costs less than half. The order leaves
        -- the planner no other index.
        return coalesce((
            select true from jobs j
            where j.status = 'pending'
                and j.group_key is null
                and j.queue = _jobs_is_any_due.queue
                and j.priority = _jobs_is_any_due.priority
                and j.job_type = any (job_types)
                and j.run_at >= since
                and j.run_at <= until
                and j.crash_count = 0
            order by j.job_type, j.run_at, j.id
            limit 1), false);
    end if;
    -- Here that order would make the planner read the whole level, and then compare the types.
    return exists (
        select from unnest(job_types) t(job_type)
        cross join lateral (
            select from jobs j
            where j.status = 'pending'
                and j.group_key is null
                and j.queue = _jobs_is_any_due.queue
                and j.priority = _jobs_is_any_due.priority
                and j.job_type = t.job_type
                and j.run_at >= since
                and j.run_at <= until
                and j.crash_count = 0
            order by j.run_at, j.id
            limit 1
        ) due);
end
$$;

comment on function _jobs_is_any_due is
    'internal: whether a job of these types is due in one queue and priority';
