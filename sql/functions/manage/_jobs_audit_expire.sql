-- Two sessions cannot both delete a row: the second one skips locked rows. The first ids are of the
-- oldest rows, so where none is old a tick pays one look into the primary key.
--
-- Workers do this, as they delete what else is over: jobs_cleanup runs only where somebody calls it,
-- and to delete in the managing functions would keep old rows until the next call.
create or replace function _jobs_audit_expire(max_rows int) returns bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    c_max_looked_at constant int := 20;
    c_kept_for constant interval := '400 days';
    v_before constant timestamptz := clock_timestamp() - c_kept_for;
    v_deleted bigint := 0;
begin
    -- Not the first row alone: a clock may have been ahead.
    if exists (select from (select a.at from jobs_audit a order by a.id limit c_max_looked_at) a
               where a.at < v_before) then
        delete from jobs_audit a
        where a.at < v_before and a.id = any (array(
            select o.id from jobs_audit o order by o.id limit max_rows for update skip locked));
        get diagnostics v_deleted = row_count;
    end if;
    return v_deleted;
end
$$;

comment on function _jobs_audit_expire is
    'internal: deletes up to max_rows rows of jobs_audit that are older than 400 days';
