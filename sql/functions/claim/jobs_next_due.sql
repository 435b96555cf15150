-- since: leave out what has been due for longer; a worker whose claim has just come back empty
-- passes it, since over those rows (or the index entries that are left of them) it has just walked.
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
    v_priority int;
    v_due timestamptz;
begin
    if queues is null then
        raise exception using errcode = 'JQ003', message = 'queues is missing';
    end if;
    foreach v_queue in array queues loop
        continue when exists (select from jobs_queues q
                              where q.queue = v_queue and q.paused_at is not null);
        v_priority := 10;
        loop
            v_priority := (select j.priority from jobs j
                           where j.status = 'pending' and j.queue = v_queue
                               and j.priority < v_priority
                           order by j.priority desc limit 1);
            exit when v_priority is null;
            v_due := least(v_due, (
                select min(first.run_at)
                from unnest(coalesce(job_types, _jobs_types_present(v_queue, v_priority)))
                    t(job_type)
                cross join lateral (
                    select j.run_at from jobs j
                    where j.status = 'pending'
                        and j.queue = v_queue
                        and j.priority = v_priority
                        and j.job_type = t.job_type
                        and j.run_at >= coalesce(since, '-infinity')
                        -- One that has lost its worker twice waits for a worker to be free of
                        -- others like it: no clock tells when.
                        and (j.crash_count = 0 or j.crash_count < least(j.max_retries, 2)
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
    'when the next job that a claim could take is due; null: none is waiting';
