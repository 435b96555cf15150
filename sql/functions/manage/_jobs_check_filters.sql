-- filters: how many are given. Without one the call would mean all jobs, which nobody says by
-- leaving something out.
create or replace function _jobs_check_filters(filters int) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if filters = 0 then
        raise exception using errcode = 'JQ003',
            message = 'no filter is given, and nothing was changed: say which jobs, for example by '
                'job_types or queues';
    end if;
end
$$;

comment on function _jobs_check_filters is
    'internal: refuses a call for many jobs without a filter';
