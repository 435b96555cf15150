-- Pending jobs, queue by queue. First come those without a group, in the order in which claims take
-- them: by priority (higher first), run_at and id. Each type of a queue and priority is a range of
-- ix_jobs_claim. So this reads at most max_jobs jobs of each type, in the queues and priorities
-- that it needs. Behind them come those of groups, in the order of ix_jobs_group: by group and
-- type, then as claims take them. Where job_types are given, each group of these queues costs one
-- probe per type.
create or replace function _jobs_search_pending(
    job_types text[],
    queues text[],
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
    v_types text[] := case when job_types is not null
        then array(select distinct unnest(job_types)) end;
    v_left bigint := coalesce(max_jobs, 9223372036854775807);
    v_queue text := coalesce(after.queue, '');
    -- Above all levels: the queue itself comes next. Below all: its groups.
    v_level int := case when after.queue is null or after.group_key is not null or in_group is not null
        then -10 else after.priority + 1 end;
    v_run_at timestamptz;
    v_id bigint;
    v_count int;
begin
    while v_left > 0 loop
        v_level := (
            select j.priority from jobs j
            where j.status = 'pending' and j.group_key is null and j.queue = v_queue
                and j.priority < v_level
            order by j.priority desc limit 1);
        if v_level is null then
            return query
            select g.job_id
            from _jobs_search_groups(v_types, v_queue, in_group, v_left,
                                     case when after.queue = v_queue then after end) g;
            get diagnostics v_count = row_count;
            v_left := v_left - v_count;
            v_queue := case when queues is null then (
                    select min(n.queue)
                    from (
                        (select j.queue from jobs j
                         where j.status = 'pending' and j.group_key is null and j.queue > v_queue
                             and in_group is null
                         order by j.queue limit 1)
                        union all
                        (select j.queue from jobs j
                         where j.group_key is not null and j.finished_at is null
                             and j.queue > v_queue
                         order by j.queue limit 1)
                    ) n)
                else (
                    select min(q.queue) from unnest(queues) q(queue)
                    where q.queue collate "C" > v_queue) end;
            exit when v_queue is null;
            v_level := case when in_group is null then 10 else -10 end;
            continue;
        end if;
        if v_queue = after.queue and v_level = after.priority and after.group_key is null then
            v_run_at := after.run_at;
            v_id := after.id;
        else
            v_run_at := '-infinity';
            v_id := 0;
        end if;
        return query
        select r.id
        from unnest(coalesce(v_types, _jobs_types_present(v_queue, v_level))) t(job_type)
        cross join lateral (
            select j.id, j.run_at from jobs j
            where j.status = 'pending' and j.group_key is null
                and j.queue = v_queue
                and j.priority = v_level
                and j.job_type = t.job_type
                and (j.run_at, j.id) > (v_run_at, v_id)
            order by j.run_at, j.id
            limit v_left
        ) r
        order by r.run_at, r.id
        limit v_left;
        get diagnostics v_count = row_count;
        v_left := v_left - v_count;
    end loop;
end
$$;

comment on function _jobs_search_pending is
    'internal: which pending jobs a list shows';
