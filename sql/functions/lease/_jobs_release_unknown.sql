-- Two sessions cannot both win: jobs_release_many locks the rows and reads the fence.
create or replace function _jobs_release_unknown(
    worker text,
    known_ids bigint[]
) returns setof bigint
language plpgsql volatile security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_ids bigint[];
    v_attempts int[];
begin
    select array_agg(j.id), array_agg(j.attempt) into v_ids, v_attempts
    from jobs j
    where j.status = 'processing' and j.worker = _jobs_release_unknown.worker
        and j.id <> all (known_ids);
    if v_ids is not null then
        return query select r from jobs_release_many(worker, v_ids, v_attempts) r;
    end if;
end
$$;

comment on function _jobs_release_unknown is
    'internal: gives back the jobs of claims whose answers never reached their worker';
