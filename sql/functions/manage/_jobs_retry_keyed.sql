-- Two sessions cannot both win a key: the unique index decides. One subtransaction holds all jobs,
-- because a subtransaction per job makes every session of the server slower. Where a key is taken,
-- the two halves are tried one after the other, until the job whose key is taken is alone: it stays
-- as it is. So a conflict costs a few subtransactions more. The keys are taken in the order of the
-- array, which is that of type and key for all who take several: they never deadlock.
create or replace function _jobs_retry_keyed(job_ids bigint[]) returns bigint[]
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_half int := cardinality(job_ids) / 2;
    v_id bigint;
begin
    begin
        foreach v_id in array job_ids loop
            perform _jobs_make_pending(array[v_id]);
        end loop;
        return job_ids;
    exception
        when unique_violation then
            if v_half = 0 then
                return '{}';
            end if;
    end;
    return _jobs_retry_keyed(job_ids[:v_half]) || _jobs_retry_keyed(job_ids[v_half + 1:]);
end
$$;

comment on function _jobs_retry_keyed is
    'internal: makes those of these jobs pending whose unique_key is free; returns their ids';
