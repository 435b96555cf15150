create or replace function _jobs_find_bad_item(jobs jsonb) returns text
language plpgsql stable
set search_path from current
as $$
declare
    v_item jsonb;
    v_place int := 0;
begin
    for v_item in select i from jsonb_array_elements(_jobs_find_bad_item.jobs) i loop
        begin
            perform _jobs_check_job(
                i.job_type, i.queue, i.priority, i.run_at, i.reference_type, i.max_retries,
                i.unique_key, i.unique_scope, i.backoff, i.reference_key)
            from _jobs_unpack(jsonb_build_array(v_item)) i;
        exception
            when sqlstate 'JQ003' or data_exception or feature_not_supported
                or program_limit_exceeded
            then
                return format('jobs[%s]: %s', v_place, sqlerrm);
        end;
        v_place := v_place + 1;
    end loop;
    return null;
end
$$;

comment on function _jobs_find_bad_item is
    'internal: which object of a refused batch is wrong, and why';
