-- is_at_fixed_times: neither the minute nor the hour begins with a star. needs_both_days: the day
-- of the month and the weekday must both fit, because one of them begins with a star.
create or replace function _jobs_cron_fields(
    cron text,
    out minutes int[],
    out hours int[],
    out days int[],
    out months int[],
    out weekdays int[],
    out is_at_fixed_times boolean,
    out needs_both_days boolean
)
language plpgsql immutable
set search_path from current
as $$
declare
    c_names constant jsonb := '{
        "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *",
        "@weekly": "0 0 * * 0", "@daily": "0 0 * * *", "@midnight": "0 0 * * *",
        "@hourly": "0 * * * *"}';
    c_months constant text[] := '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}';
    c_weekdays constant text[] := '{sun,mon,tue,wed,thu,fri,sat}';
    v_text text := lower(btrim(cron, E' \t\n\r'));
    v_fields text[];
    v_problem text;
begin
    v_fields := regexp_split_to_array(coalesce(c_names ->> v_text, v_text), '\s+');
    v_problem := case
        when cron is null then 'cron is missing'
        when octet_length(cron) > 512 then 'cron must have at most 512 bytes'
        when v_text like '@%' and not c_names ? v_text
            then format('cron: %s is not known: write @hourly, @daily, @weekly, @monthly, @yearly, '
                        'or five fields', left(v_text, 40))
        when cardinality(v_fields) <> 5
            then format('cron must have five fields (minute, hour, day of the month, month, '
                        'weekday), not %s: %s. For seconds give `every`',
                        cardinality(v_fields), left(cron, 60))
    end;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
    minutes := _jobs_cron_field(v_fields[1], 'minute', 0, 59);
    hours := _jobs_cron_field(v_fields[2], 'hour', 0, 23);
    days := _jobs_cron_field(v_fields[3], 'day of the month', 1, 31);
    months := _jobs_cron_field(v_fields[4], 'month', 1, 12, c_months);
    -- Sunday is 0 and 7.
    weekdays := array(
        select distinct day % 7
        from unnest(_jobs_cron_field(v_fields[5], 'weekday', 0, 7, c_weekdays)) day);
    is_at_fixed_times := v_fields[1] not like '*%' and v_fields[2] not like '*%';
    needs_both_days := v_fields[3] like '*%' or v_fields[5] like '*%';
end
$$;

comment on function _jobs_cron_fields is
    'internal: what a cron expression stands for; raises if it is none';
