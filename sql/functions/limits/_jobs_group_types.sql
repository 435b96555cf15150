-- Goes from type to type by one index probe each.
create or replace function _jobs_group_types(queue text, group_key text) returns text[]
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_types text[] := '{}';
    v_last text := '';
begin
    loop
        select j.job_type into v_last
        from jobs j
        where j.queue = _jobs_group_types.queue and j.group_key = _jobs_group_types.group_key
            and j.status = 'pending' and j.finished_at is null and j.job_type > v_last
        order by j.job_type, _jobs_rank(j.attempt, j.priority), j.run_at, j.id
        limit 1;
        exit when not found;
        v_types := v_types || v_last;
    end loop;
    return v_types;
end
$$;

comment on function _jobs_group_types is 'internal: the types of the pending jobs of a group';
