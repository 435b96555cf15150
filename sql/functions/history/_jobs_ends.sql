-- What jobs_ends has in these rows: json arrays of arrays of
--
--     queue, job_type, outcome, jobs, waited_s, {bucket: jobs, ...}, ran_s, {bucket: jobs, ...}
--
-- What has names that no job has, or is no number of jobs or seconds, is left out.
create or replace function _jobs_ends(noted jobs_ends[]) returns setof jobs_history
language sql stable
set search_path from current
set jit = off
begin atomic
    select interval '1 minute', date_trunc('minute', n.noted_at, 'UTC')::jobs_moment, e.told ->> 0,
        e.told ->> 1, e.told ->> 2, (e.told ->> 3)::bigint,
        (e.told ->> 4)::float8,
        array(select greatest((e.told -> 5 ->> b::text)::int, 0) from generate_series(1, 23) b),
        (e.told ->> 6)::float8,
        array(select greatest((e.told -> 7 ->> b::text)::int, 0) from generate_series(1, 23) b)
    from unnest(noted) n
    cross join lateral jsonb_array_elements(n.ends::jsonb) e(told)
    where coalesce(octet_length(e.told ->> 0), 0) <= 512
        and coalesce(octet_length(e.told ->> 1), 0) <= 512
        and e.told ->> 2 in ('completed', 'failed', 'cancelled', 'retried', 'lost')
        and (e.told ->> 3)::bigint between 1 and 1e12
        and (e.told ->> 4)::float8 between 0 and 1e15
        and (e.told ->> 6)::float8 between 0 and 1e15;
end;

comment on function _jobs_ends is
    'internal: what rows of jobs_ends tell, one row for each set of labels that each of them has';
