-- What a new job says about its unique_key, for who says anything about it.
create or replace function _jobs_check_unique(
    unique_key text,
    unique_scope text,
    on_conflict text,
    unique_for interval,
    max_wait interval
) returns void
language plpgsql stable
set search_path from current
as $$
declare
    v_problem text;
begin
    v_problem := case
        when on_conflict not in ('return', 'raise', 'replace', 'debounce')
            then format('on_conflict must be return, raise, replace or debounce, not %s',
                        left(on_conflict, 40))
        when unique_key is null and on_conflict <> 'return'
            then format('on_conflict %s needs a unique_key', on_conflict)
        when unique_key is null and unique_for is not null then 'unique_for needs a unique_key'
        when unique_key is null and max_wait is not null then 'max_wait needs a unique_key'
        when unique_scope = 'period' and unique_key is not null and unique_for is null
            then 'unique_for is missing: unique_scope period needs the length of the period'
        when unique_for is not null and coalesce(unique_scope, 'live') <> 'period'
            then 'unique_for is the length of a period: give unique_scope period'
        when unique_for <= '0' or not _jobs_valid_delays(array[unique_for])
            then format('unique_for must be above 0 and at most 100 years, not %s', unique_for)
        when on_conflict = 'debounce' and max_wait is null
            then 'max_wait is missing: on_conflict debounce needs it, or a job that is debounced '
                'again and again would never run'
        when max_wait is not null and coalesce(on_conflict, 'return') <> 'debounce'
            then 'max_wait is for a job that waits longer at each call: give on_conflict debounce'
        when max_wait <= '0' or not _jobs_valid_delays(array[max_wait])
            then format('max_wait must be above 0 and at most 100 years, not %s', max_wait)
    end;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
    -- Without the index each job with the key would be added, as after a restore of a part of a
    -- dump.
    if unique_key is not null and to_regclass('ix_jobs_unique_key') is null then
        raise exception using errcode = 'JQ005',
            message = 'the index ix_jobs_unique_key is missing, so no job can hold a unique_key, and '
                'nothing was added',
            hint = 'pgjobs sql | psql -v schema=... makes it again.';
    end if;
end
$$;

comment on function _jobs_check_unique is
    'internal: raises if an argument about the unique_key is invalid';
