-- One row per span, moment and set of labels. Each bucket is named, because to take the arrays apart
-- and to put them together again takes ten times as long.
create or replace function _jobs_summed(ended jobs_history[]) returns setof jobs_history
language plpgsql immutable
set search_path from current
set jit = off
as $$
begin
    return query
    select e.span, e.starts_at, e.queue, e.job_type, e.outcome, sum(e.jobs)::bigint,
        sum(e.waited_s), array[
            sum(e.waits[1]), sum(e.waits[2]), sum(e.waits[3]), sum(e.waits[4]), sum(e.waits[5]),
            sum(e.waits[6]), sum(e.waits[7]), sum(e.waits[8]), sum(e.waits[9]), sum(e.waits[10]),
            sum(e.waits[11]), sum(e.waits[12]), sum(e.waits[13]), sum(e.waits[14]),
            sum(e.waits[15]), sum(e.waits[16]), sum(e.waits[17]), sum(e.waits[18]),
            sum(e.waits[19]), sum(e.waits[20]), sum(e.waits[21]), sum(e.waits[22]),
            sum(e.waits[23])
        ]::int[],
        sum(e.ran_s), array[
            sum(e.runs[1]), sum(e.runs[2]), sum(e.runs[3]), sum(e.runs[4]), sum(e.runs[5]),
            sum(e.runs[6]), sum(e.runs[7]), sum(e.runs[8]), sum(e.runs[9]), sum(e.runs[10]),
            sum(e.runs[11]), sum(e.runs[12]), sum(e.runs[13]), sum(e.runs[14]), sum(e.runs[15]),
            sum(e.runs[16]), sum(e.runs[17]), sum(e.runs[18]), sum(e.runs[19]), sum(e.runs[20]),
            sum(e.runs[21]), sum(e.runs[22]), sum(e.runs[23])
        ]::int[]
    from unnest(ended) e
    group by 1, 2, 3, 4, 5;
end
$$;

comment on function _jobs_summed is
    'internal: adds up rows of jobs_history that have the same labels and moment';
