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
    if not _jobs_is_batch(worker, job_ids, attempts, others) then
        raise exception using errcode = 'JQ003',
            message = 'worker, job_ids and attempts must not be or hold null, '
                'and all arrays must be plain lists of the same length';
    end if;
end
$$;

comment on function _jobs_check_batch is
    'internal: refuses arrays with nulls or of unequal lengths; others: lengths of further arrays';
