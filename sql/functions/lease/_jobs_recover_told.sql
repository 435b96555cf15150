-- Workers log what they take back. Of each lost worker's jobs the first ten ids are enough, since
-- one death may lose thousands.
create or replace function _jobs_recover_told(
    gone text[],
    worker text default null,
    claimed_before timestamptz default 'infinity',
    sparing text default null,
    max_jobs int default null
) returns jsonb
language sql volatile
set search_path from current
as $$
select jsonb_agg(to_jsonb(l) order by l.jobs desc, l.worker)
from (
    select r.lost_by as worker, count(*) as jobs,
        (array_agg((r.job).id order by (r.job).id))[:10] as ids,
        (array_agg((r.job).id order by (r.job).id)
             filter (where (r.job).status = 'failed'))[:10] as failed
    from _jobs_recover(gone, worker, claimed_before, sparing, max_jobs) r
    group by r.lost_by
) l
$$;

comment on function _jobs_recover_told is
    'internal: recovers; by lost worker: number of jobs, first ids, ids that failed; null: no job';
