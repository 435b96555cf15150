create or replace function _jobs_check_schedule(
    name text,
    cron text,
    every interval,
    timezone text,
    missed text,
    missed_within interval,
    overlap text,
    starts_at timestamptz,
    ends_at timestamptz
) returns void
language plpgsql stable
set search_path from current
as $$
declare
    v_problem text;
begin
    v_problem := case
        when coalesce(octet_length(name), 0) not between 1 and 500
            then 'name must have 1 to 500 bytes'
        when num_nonnulls(cron, every) <> 1 then 'give either cron or every'
        when extract(year from every) <> 0 or extract(month from every) <> 0
            then format('every must have no months, not %s: for those give cron', every)
        when every < '1 second' or every > '36500 days'
            then format('every must be from 1 second to 100 years, not %s', every)
        when missed not in ('latest', 'all', 'none')
            then format('missed must be latest, all or none, not %s', left(missed, 40))
        when missed_within <= '0' or not _jobs_valid_delays(array[missed_within])
            then format('missed_within must be above 0 and at most 100 years, not %s',
                        missed_within)
        when overlap not in ('skip', 'allow', 'replace')
            then format('overlap must be skip, allow or replace, not %s', left(overlap, 40))
        when not (starts_at >= '0001-01-02 00:00:00+00' and starts_at < '9999-12-31 00:00:00+00')
            then format('starts_at must be a moment in the years 1 to 9999, not %s', starts_at)
        when not (ends_at >= '0001-01-02 00:00:00+00' and ends_at < '9999-12-31 00:00:00+00')
            then format('ends_at must be a moment in the years 1 to 9999, not %s', ends_at)
        when ends_at < starts_at then 'ends_at must not be before starts_at'
    end;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
    perform _jobs_check_timezone(timezone);
    if cron is not null then
        perform _jobs_cron_fields(cron);
    end if;
end
$$;

comment on function _jobs_check_schedule is 'internal: raises if an argument is invalid';
