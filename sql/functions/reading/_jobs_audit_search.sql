-- Rows of jobs_audit that pass the filters, the newest first; null filters are left out. who: the
-- actor or one of the roles. within: no row is older.
--
-- The search ends after max_read rows. If there may be more, the last row that it returns has an id
-- alone: the search goes on before that one. The planner must walk the primary key, whatever the
-- statistics say.
create or replace function _jobs_audit_search(
    actions text[] default null,
    who text default null,
    job_id bigint default null,
    within interval default null,
    max_rows int default 20,
    before bigint default null,
    max_read int default 100000
) returns setof jobs_audit
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_before constant bigint := coalesce(before, 9223372036854775807);
    v_since constant timestamptz := _jobs_after(clock_timestamp(), -within);
    v_found bigint;
    v_end jobs_audit;
begin
    return query
    select a.*
    from (
        select r.* from jobs_audit r where r.id < v_before order by r.id desc limit max_read
    ) a
    where (actions is null or a.action = any (actions))
        and (who is null or who in (a.actor, a.db_role, a.set_role))
        and (_jobs_audit_search.job_id is null or a.job_id = _jobs_audit_search.job_id)
        and (within is null or a.at >= v_since)
    order by a.id desc
    limit max_rows;
    get diagnostics v_found = row_count;
    if v_found < max_rows then
        select r.id into v_end.id
        from jobs_audit r
        where r.id < v_before
        order by r.id desc
        offset max_read - 1
        limit 1;
        if found then
            return next v_end;
        end if;
    end if;
end
$$;

comment on function _jobs_audit_search is
    'internal: rows of jobs_audit that pass these filters; the last may say how far it looked';
