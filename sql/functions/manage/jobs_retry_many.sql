-- Two sessions cannot both win: this function skips locked rows, and jobs_retry reads the status
-- under the lock. It may wait for a session that takes the same key. All who take several keys take
-- them in the order of type and key, so that they never deadlock.
create or replace function jobs_retry_many(
    job_types text[] default null,
    queues text[] default null,
    failed_since timestamptz default null,
    max_jobs int default 10000
) returns bigint
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_ids bigint[];
    v_id bigint;
    v_count bigint := 0;
begin
    perform _jobs_check_max_jobs(max_jobs);
    v_ids := (
        select array_agg(f.id order by f.job_type, f.unique_key, f.id)
        from (
            select j.id, j.job_type, j.unique_key from jobs j
            where j.status = 'failed'
                and (job_types is null or j.job_type = any (job_types))
                and (queues is null or j.queue = any (queues))
                and j.finished_at >= coalesce(failed_since, '-infinity')
                -- Jobs whose key another job holds are left out, and do not use up max_jobs.
                and (j.unique_key is null or j.unique_scope in ('kept', 'period') or not exists (
                    select from jobs o
                    where o.job_type = j.job_type and o.unique_key = j.unique_key and o.id <> j.id
                        and (o.unique_scope in ('kept', 'period')
                            or o.status in ('pending', 'blocked')
                            or o.status = 'processing' and o.unique_scope = 'live')))
            order by j.finished_at
            limit coalesce(max_jobs, 10000)
            for no key update of j skip locked
        ) f);
    foreach v_id in array coalesce(v_ids, '{}') loop
        begin
            perform from jobs_retry(v_id);
            v_count := v_count + 1;
        exception
            when sqlstate 'JQ004' then null;
        end;
    end loop;
    return v_count;
end
$$;

comment on function jobs_retry_many is
    'failed jobs whose unique_key is free -> pending now; returns how many';
