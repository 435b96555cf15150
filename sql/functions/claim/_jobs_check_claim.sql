create or replace function _jobs_check_claim(
    worker text,
    queues text[] default null,
    max_jobs int default null,
    lease interval default null,
    job_types text[] default null
) returns void
language plpgsql immutable
set search_path from current
as $$
declare
    v_problem text;
begin
    v_problem := case
        when worker is null or worker = '' then 'worker is missing: give its name'
        when octet_length(worker) > 512 then 'worker must have at most 512 bytes'
        when array_ndims(queues) > 1 or array_ndims(job_types) > 1
            then 'queues and job_types must be plain lists'
        when array_position(queues, null) is not null then 'queues must not hold nulls'
        when max_jobs < 0 then format('max_jobs must be 0 or more, not %s', max_jobs)
        -- As in _jobs_valid_delays, but without the cost of its call in each claim.
        when lease <= '0' or lease > '100 years' or extract(year from lease) not between 0 and 100
            then format('lease must be above 0 and at most 100 years, not %s', lease)
        when array_position(job_types, null) is not null then 'job_types must not hold nulls'
    end;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
end
$$;

comment on function _jobs_check_claim is 'internal: raises if an argument is invalid';
