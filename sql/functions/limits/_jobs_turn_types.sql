-- Goes from type to type by one index probe each.
create or replace function _jobs_turn_types(queue text) returns text[]
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
        select t.job_type into v_last
        from jobs_turns t
        where t.queue = _jobs_turn_types.queue and t.job_type > v_last
        order by t.queue, t.job_type, t.turn_at
        limit 1;
        exit when not found;
        v_types := v_types || v_last;
    end loop;
    return v_types;
end
$$;

comment on function _jobs_turn_types is 'internal: the types for which a queue has turns';
