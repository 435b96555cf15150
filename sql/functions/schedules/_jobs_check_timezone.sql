-- PostgreSQL itself takes abbreviations too, and anything that reads as a POSIX zone: XYZ+3. Only
-- pg_timezone_names tells them apart, but to read all its files takes 50 ms. No name with a slash
-- and without a digit is an abbreviation or a POSIX zone.
create or replace function _jobs_check_timezone(timezone text) returns void
language plpgsql stable
set search_path from current
as $$
declare
    v_is_known boolean := true;
begin
    if timezone ~ '^[A-Za-z_]+(/[A-Za-z_-]+)+$' then
        begin
            perform clock_timestamp() at time zone timezone;
        exception when invalid_parameter_value then
            v_is_known := false;
        end;
    elsif upper(timezone) <> 'UTC' then
        v_is_known := exists (
            select from pg_timezone_names z where lower(z.name) = lower(timezone));
    end if;
    if not v_is_known then
        raise exception using errcode = 'JQ003',
            message = format('timezone %s is not known: give a name of pg_timezone_names, such as '
                             'Europe/Berlin', left(timezone, 60));
    end if;
end
$$;

comment on function _jobs_check_timezone is 'internal: raises if no time zone has this name';
