-- Disturbs no other session: it deletes finished rows only, which no claim reads, and skips rows
-- that another session has locked. finished_before is for who calls this until it returns 0: with
-- older_than, each call would find the jobs that have become old enough since the call before.
create or replace function jobs_cleanup(
    older_than interval default '7 days',
    statuses text[] default '{completed}',
    max_jobs int default 100000,
    finished_before timestamptz default null
) returns bigint
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_has_flows constant boolean := exists (select from jobs_flows f);
    v_before timestamptz;
    v_status text;
    v_ids bigint[];
    v_count bigint := 0;
begin
    perform _jobs_check_statuses(statuses, '{completed,failed,cancelled}');
    if not (older_than >= '0' and older_than <= '1000 years'
            and extract(year from older_than) between 0 and 1000) then
        raise exception using errcode = 'JQ003',
            message = format('older_than must be from 0 to 1000 years, not %s', older_than);
    end if;
    perform _jobs_check_max_jobs(max_jobs);
    v_before := least(finished_before,
                      _jobs_after(clock_timestamp(), -coalesce(older_than, '7 days')));
    for v_status in select distinct unnest(coalesce(statuses, '{completed}')) order by 1 loop
        v_ids := array(
            select j.id from jobs j
            where j.status = v_status and j.status <> 'pending' and j.finished_at < v_before
                and not (v_has_flows and _jobs_is_needed(j.id))
            order by j.finished_at
            limit coalesce(max_jobs, 100000) - v_count
            for update skip locked);
        delete from jobs j where j.id = any (v_ids);
        perform _jobs_forget(v_ids);
        v_count := v_count + cardinality(v_ids);
    end loop;
    perform _jobs_history_add_alone();
    perform _jobs_audit_note('cleanup', jobs => v_count, filters => jsonb_build_object(
        'statuses', coalesce(statuses, '{completed}'), 'finished_before', v_before));
    return v_count;
end
$$;

comment on function jobs_cleanup is
    'deletes up to max_jobs jobs finished longer ago than older_than; repeat until it returns 0';
