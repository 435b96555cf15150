create or replace function jobs_check_failure(
    errors text[],
    retry_ins interval[]
) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if array_position(errors, null) is not null then
        raise exception using errcode = 'JQ003', message = 'error is missing: say why it failed';
    end if;
    if not ('0' <= all (retry_ins) and '100 years' >= all (retry_ins)) then
        raise exception using errcode = 'JQ003', message = 'retry_in must be from 0 to 100 years';
    end if;
end
$$;

comment on function jobs_check_failure is 'internal: refuses what cannot be a failure, by argument';
