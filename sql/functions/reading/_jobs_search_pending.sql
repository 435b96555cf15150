-- Pending jobs in the order in which claims take them, queue by queue: by queue, priority (higher
-- first), run_at and id. Each type of a queue and priority is a range of ix_jobs_claim. So this reads
-- at most max_jobs jobs of each type, in the queues and priorities that it needs.
create or replace function _jobs_search_pending(
    job_types text[],
    queues text[],
    max_jobs bigint,
    after_queue text,
    after_priority int,
    after_run_at timestamptz,
    after_id bigint
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
    v_queue text := coalesce(after_queue, '');
    v_level int := coalesce(after_priority + 1, -10);
    v_run_at timestamptz;
    v_id bigint;
    v_count int;
begin
    while v_left > 0 loop
        v_level := (
            select j.priority from jobs j
            where j.status = 'pending' and j.group_key is null and j.queue = v_queue and j.priority < v_level
            order by j.priority desc limit 1);
        if v_level is null then
            v_queue := case when queues is null then (
                    select j.queue from jobs j where j.status = 'pending' and j.group_key is null and j.queue > v_queue
                    order by j.queue limit 1)
                else (
                    select min(q.queue) from unnest(queues) q(queue)
                    where q.queue collate "C" > v_queue) end;
            exit when v_queue is null;
            v_level := 10;
            continue;
        end if;
        if v_queue = after_queue and v_level = after_priority then
            v_run_at := after_run_at;
            v_id := after_id;
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
