create or replace function _jobs_check_max_jobs(max_jobs int) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if max_jobs < 0 then
        raise exception using errcode = 'JQ003',
            message = format('max_jobs must be 0 or more, not %s', max_jobs);
    end if;
end
$$;

comment on function _jobs_check_max_jobs is 'internal: refuses a negative number of jobs';
