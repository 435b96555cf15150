create or replace function _jobs_check_batch(
    worker text,
    job_ids bigint[],
    attempts int[],
    others int[]
) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if worker is null
        or greatest(array_ndims(job_ids), array_ndims(attempts)) > 1
        or array_position(job_ids, null) is not null
        or array_position(attempts, null) is not null
        or array_lower(job_ids, 1) <> 1 or array_lower(attempts, 1) <> 1
        or not coalesce(cardinality(job_ids) = all (cardinality(attempts) || others), false)
    then
        raise exception using errcode = 'JQ003',
            message = 'worker, job_ids and attempts must not be or hold null, '
                'and all arrays must be plain lists of the same length';
    end if;
end
$$;

comment on function _jobs_check_batch is
    'internal: refuses arrays with nulls or of unequal lengths; others: lengths of further arrays';
