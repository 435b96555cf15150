create or replace function _jobs_check_failure(
    errors text[],
    retries boolean[],
    retry_ins interval[],
    error_kinds text[] default null
) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    -- jobs_fail_many joins the lists by the places of their elements.
    if greatest(array_ndims(errors), array_ndims(retries), array_ndims(retry_ins),
                array_ndims(error_kinds)) > 1
        or array_lower(errors, 1) <> 1 or array_lower(retries, 1) <> 1
        or array_lower(retry_ins, 1) <> 1 or array_lower(error_kinds, 1) <> 1
    then
        raise exception using errcode = 'JQ003',
            message = 'errors, retries, retry_ins and error_kinds must be plain lists';
    end if;
    if array_position(errors, null) is not null then
        raise exception using errcode = 'JQ003', message = 'error is missing: give the reason';
    end if;
    if not _jobs_valid_delays(retry_ins) then
        raise exception using errcode = 'JQ003', message = 'retry_in must be from 0 to 100 years';
    end if;
end
$$;

comment on function _jobs_check_failure is
    'internal: raises if an argument of a failure is invalid';
