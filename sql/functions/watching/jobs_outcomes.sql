-- Whoever has read a job's end waits no more, so the job's watches go. A job that is kept only
-- because it was watched (marks, bit 1) is not deleted here: the answer may be lost on its way. The
-- caller can read such a job once more for a minute, then a worker's tick deletes it.
--
-- Waits for no other session: a watch that another session has locked is left to the tick.
create or replace function jobs_outcomes(job_ids bigint[]) returns table (
    job_id bigint,
    status text,
    result jsonb,
    error text,
    finished_at timestamptz
)
language plpgsql volatile security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
    c_kept_after_reading constant interval := '1 minute';
begin
    perform _jobs_check_job_ids(job_ids);
    return query
    with found as materialized (
        select j.id, j.status, j.result, j.error, j.finished_at,
            coalesce(j.marks & 1, 0) = 1 as goes_with_watch
        from jobs j
        where j.id = any (job_ids)
    ), read as materialized (
        -- By arrays, so that the planner cannot start from the watches and read all of them.
        select w.ctid as place, w.job_id = any (array(
            select f.id from found f where f.goes_with_watch)) as keeps
        from jobs_watched w
        where w.job_id = any (array(select f.id from found f where f.finished_at is not null))
        for update skip locked
    ), unwatched as (
        delete from jobs_watched w
        where w.ctid = any (array(select r.place from read r where not r.keeps))
    ), shortened as (
        update jobs_watched w
        set watched_until = least(w.watched_until, clock_timestamp() + c_kept_after_reading)
        where w.ctid = any (array(select r.place from read r where r.keeps))
    )
    select f.id, f.status, f.result, f.error, f.finished_at::timestamptz from found f;
end
$$;

comment on function jobs_outcomes is
    'how far these jobs are: status, result, error, finished_at; ends the watch of those that ended';
