create or replace function jobs_next_due(
    queues text[],
    job_types text[] default null
) returns timestamptz
language plpgsql stable security definer
set search_path from current
as $$
begin
    if queues is null then
        raise exception using errcode = 'JQ003', message = 'queues is missing';
    end if;
    return _jobs_next_due(queues, job_types);
end
$$;

comment on function jobs_next_due is
    'when the next job that a claim could take is due; null: no such job';
