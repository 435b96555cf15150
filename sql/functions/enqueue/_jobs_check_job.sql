-- The limits of a new job, for jobs_enqueue. The table's constraints are weaker: they alone check a
-- batch without keys.
create or replace function _jobs_check_job(
    job_type text,
    queue text,
    priority int,
    run_at timestamptz,
    reference_type text,
    max_retries int,
    unique_key text,
    unique_scope text,
    backoff interval[],
    reference_key text,
    group_key text,
    headers jsonb,
    expires_at timestamptz
) returns void
language plpgsql immutable
set search_path from current
as $$
declare
    v_problem text;
begin
    v_problem := case
        when job_type is null then 'job_type is missing'
        when octet_length(job_type) not between 1 and 512 then 'job_type must have 1 to 512 bytes'
        when octet_length(queue) not between 1 and 512 then 'queue must have 1 to 512 bytes'
        when priority not between -9 and 9
            then format('priority must be from -9 to 9, not %s', priority)
        -- A client's datetime cannot hold other moments: a claim that returns one would fail in
        -- every worker.
        when not (run_at >= '0001-01-02 00:00:00+00' and run_at < '9999-12-31 00:00:00+00')
            then format('run_at must be a moment in the years 1 to 9999, not %s', run_at)
        when octet_length(reference_type) not between 1 and 512
            then 'reference_type must have 1 to 512 bytes'
        when octet_length(reference_key) not between 1 and 512
            then 'reference_key must have 1 to 512 bytes'
        when octet_length(group_key) not between 1 and 512
            then 'group_key must have 1 to 512 bytes'
        when jsonb_typeof(headers) <> 'object' then 'headers must be a JSON object'
        when not (expires_at >= '0001-01-02 00:00:00+00'
                  and expires_at < '9999-12-31 00:00:00+00')
            then format('expires_at must be a moment in the years 1 to 9999, not %s', expires_at)
        when max_retries < 0 then format('max_retries must be 0 or more, not %s', max_retries)
        when octet_length(unique_key) not between 1 and 512
            then 'unique_key must have 1 to 512 bytes'
        when unique_scope not in ('live', 'kept', 'pending', 'period')
            then format('unique_scope must be live, kept, pending or period, not %s',
                        left(unique_scope, 40))
        when cardinality(backoff) = 0 or array_ndims(backoff) > 1 or array_lower(backoff, 1) <> 1
            then 'backoff must be a list of one or more delays'
        when array_position(backoff, null) is not null then 'backoff must not hold nulls'
        when backoff is not null and not _jobs_valid_delays(backoff)
            then 'backoff must hold delays from 0 to 100 years'
    end;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
end
$$;

comment on function _jobs_check_job is 'internal: raises if an argument is invalid';
