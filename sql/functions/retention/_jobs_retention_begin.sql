-- A round begins where the last one ended. Once an hour, and after a change of the rules, it begins
-- with the oldest job and with the types that there are now. Such a round finds what was passed
-- over: a job whose row was locked, one that could not be deleted, and one whose end was committed
-- late. It waits for vacuum, because it walks over the index entries of deleted jobs.
--
-- A job becomes visible a little after it has ended, so every rule keeps it for 10 s.
create or replace function _jobs_retention_begin(rule jobs_retention) returns jobs_retention
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    c_least_keep_for constant interval := '10 seconds';
    c_heal_every constant interval := '1 hour';
    v_now timestamptz := clock_timestamp();
begin
    if rule.healed_at is null or rule.healed_at < v_now - c_heal_every
        and pg_stat_get_dead_tuples('jobs'::regclass)
            < 100000 + pg_stat_get_live_tuples('jobs'::regclass) / 5
    then
        rule.healed_at := v_now;
        rule.deleted_to := null;
        rule.error := null;
        rule.types := case
            when rule.job_type is not null then array[rule.job_type]
            when exists (select from jobs_retention o
                         where o.status = rule.status and o.job_type is not null)
                then _jobs_retention_types(rule.status) end;
    end if;
    rule.round_to := greatest(rule.deleted_to, _jobs_after(
        v_now, -greatest(rule.keep_for, c_least_keep_for)));
    rule.round_place := 1;
    rule.round_from := rule.deleted_to;
    return rule;
end
$$;

comment on function _jobs_retention_begin is
    'internal: a rule at the begin of its next round';
