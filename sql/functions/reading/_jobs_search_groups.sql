-- The pending jobs of a queue's groups in the order of ix_jobs_group: group by group, type by type,
-- then as claims take them. Each statement is one walk along a range of the index: first what is
-- left of the group of the last page's last job, then group by group.
create or replace function _jobs_search_groups(
    job_types text[],
    queue text,
    in_group text,
    max_jobs bigint,
    after jobs
) returns table (job_id bigint)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_left bigint := max_jobs;
    v_group text := coalesce(in_group, '');
    v_type text := '';
    v_rank int := -100;
    v_run_at timestamptz := '-infinity';
    v_id bigint := 0;
    v_wanted_type text;
    v_count int;
begin
    if (after).group_key is not null then
        v_group := (after).group_key;
        v_type := (after).job_type;
        v_rank := _jobs_rank((after).attempt, (after).priority);
        v_run_at := (after).run_at;
        v_id := (after).id;
    end if;
    while v_left > 0 and v_group is not null loop
        if job_types is null then
            return query
            select j.id from jobs j
            where j.group_key is not null and j.finished_at is null
                and j.queue = _jobs_search_groups.queue and j.group_key = v_group
                and j.status = 'pending'
                and (j.job_type, (j.attempt = 0)::int * 20 - j.priority::int, j.run_at, j.id)
                    > (v_type, v_rank, v_run_at, v_id)
            order by j.job_type, (j.attempt = 0)::int * 20 - j.priority::int, j.run_at, j.id
            limit v_left;
            get diagnostics v_count = row_count;
            v_left := v_left - v_count;
        else
            foreach v_wanted_type in array array(
                select t.job_type from unnest(job_types) t(job_type)
                where t.job_type collate "C" >= v_type order by t.job_type collate "C")
            loop
                return query
                select j.id from jobs j
                where j.group_key is not null and j.finished_at is null
                    and j.queue = _jobs_search_groups.queue and j.group_key = v_group
                    and j.status = 'pending' and j.job_type = v_wanted_type
                    and (j.job_type, (j.attempt = 0)::int * 20 - j.priority::int, j.run_at, j.id)
                        > (v_type, v_rank, v_run_at, v_id)
                order by (j.attempt = 0)::int * 20 - j.priority::int, j.run_at, j.id
                limit v_left;
                get diagnostics v_count = row_count;
                v_left := v_left - v_count;
                exit when v_left = 0;
            end loop;
        end if;
        exit when in_group is not null;
        v_group := (
            select j.group_key from jobs j
            where j.group_key is not null and j.finished_at is null
                and j.queue = _jobs_search_groups.queue and j.group_key > v_group
            order by j.group_key limit 1);
        v_type := '';
        v_rank := -100;
        v_run_at := '-infinity';
        v_id := 0;
    end loop;
end
$$;

comment on function _jobs_search_groups is
    'internal: which pending jobs of groups a list shows';
