create or replace function _jobs_check_job_ids(job_ids bigint[]) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if job_ids is null or array_ndims(job_ids) > 1 or array_position(job_ids, null) is not null then
        raise exception using errcode = 'JQ003',
            message = 'job_ids must be a plain list of ids without nulls';
    end if;
end
$$;

comment on function _jobs_check_job_ids is 'internal: refuses null, and a list with nulls';
