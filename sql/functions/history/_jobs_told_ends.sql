-- As _jobs_ends reads it: of one set of labels the attempts whose waits, and whose runs, count in one
-- bucket of the histogram. Null: they have neither.
--
-- Without settings, so that PostgreSQL inlines it.
create or replace function _jobs_told_ends(
    queue text,
    job_type text,
    outcome text,
    jobs bigint,
    waited_s float8,
    wait_bucket int,
    ran_s float8,
    run_bucket int
) returns json
language sql stable parallel safe
return json_build_array(
    queue, job_type, outcome, jobs, greatest(waited_s, 0),
    case when wait_bucket is not null then json_build_object(wait_bucket, jobs) else '{}' end,
    greatest(ran_s, 0),
    case when run_bucket is not null then json_build_object(run_bucket, jobs) else '{}' end);

comment on function _jobs_told_ends is
    'internal: how attempts of one set of labels have ended, as jobs_ends has it';
