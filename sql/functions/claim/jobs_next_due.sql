-- since: a job that was due earlier is ignored. A worker passes since after an empty claim, because
-- that claim has just walked over the older rows and their dead index entries.
create or replace function jobs_next_due(
    queues text[],
    job_types text[] default null,
    since timestamptz default null
) returns timestamptz
language plpgsql stable security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    v_queue text;
    v_level int;
    v_due timestamptz;
begin
    if queues is null then
        raise exception using errcode = 'JQ003', message = 'queues is missing';
    end if;
    foreach v_queue in array queues loop
        continue when exists (select from jobs_queues q
                              where q.queue = v_queue and q.paused_at is not null);
        v_level := 10;
        loop
            v_level := _jobs_next_level(v_queue, v_level, null);
            exit when v_level is null;
            v_due := least(v_due, (
                select min(first.run_at)
                from unnest(coalesce(job_types, _jobs_types_present(v_queue, v_level)))
                    t(job_type)
                cross join lateral (
                    select j.run_at from jobs j
                    where j.status = 'pending'
                        and j.queue = v_queue
                        and j.priority = v_level
                        and j.job_type = t.job_type
                        and j.run_at >= coalesce(since, '-infinity')
                        -- A due suspect waits for a worker without a suspect, not for a time.
                        and (not _jobs_is_suspect(j.crash_count, j.max_retries)
                             or j.run_at > clock_timestamp())
                    order by j.run_at
                    limit 1
                ) first));
        end loop;
    end loop;
    return v_due;
end
$$;

comment on function jobs_next_due is
    'when the next job that a claim could take is due; null: no such job';
