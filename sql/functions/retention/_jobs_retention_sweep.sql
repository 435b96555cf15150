-- A rule works in rounds. A round deletes all that ended before one moment, round_to: type by type,
-- in the order of finished_at. Only what is to be deleted is read, because each type is a range of
-- ix_jobs_job_type, and all types together are a range of ix_jobs_status. The row remembers how far
-- the round has come: without it, each batch would walk over the index entries of all deleted jobs
-- while another session holds an old snapshot.
create or replace function _jobs_retention_sweep(
    rule jobs_retention,
    max_jobs bigint,
    give_up_at timestamptz
) returns bigint
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    v_has_flows constant boolean := exists (select from jobs_flows f);
    c_chunk constant int := 100;
    c_between_rounds constant interval := '5 seconds';
    v_type text;
    v_from timestamptz;
    v_wanted bigint;
    v_ids bigint[];
    v_last timestamptz;
    v_count bigint;
    v_deleted bigint := 0;
begin
    if rule.round_to is null then
        rule := _jobs_retention_begin(rule);
    end if;
    while rule.round_to is not null and v_deleted < max_jobs
        and clock_timestamp() < give_up_at
    loop
        v_type := rule.types[rule.round_place];
        v_from := coalesce(rule.round_from, '-infinity');
        v_wanted := least(c_chunk, max_jobs - v_deleted);
        if rule.types is null then
            select array_agg(e.id), max(e.finished_at) into v_ids, v_last
            from (
                select j.id, j.finished_at from jobs j
                where j.status = rule.status and j.status <> 'pending'
                    and j.finished_at >= v_from and j.finished_at < rule.round_to
                    and not (v_has_flows and _jobs_is_needed(j.id))
                order by j.finished_at
                limit v_wanted
                for update skip locked
            ) e;
        else
            select array_agg(e.id), max(e.finished_at) into v_ids, v_last
            from (
                select j.id, j.finished_at from jobs j
                where j.job_type = v_type and j.status = rule.status
                    and j.finished_at >= v_from and j.finished_at < rule.round_to
                    and not (v_has_flows and _jobs_is_needed(j.id))
                order by j.finished_at
                limit v_wanted
                for update skip locked
            ) e;
        end if;
        begin
            delete from jobs j where j.id = any (v_ids);
            get diagnostics v_count = row_count;
            perform _jobs_forget(v_ids);
        exception
            when transaction_rollback or insufficient_resources or operator_intervention
                or system_error
            then
                raise;
            when others then
                select d.deleted, d.error into v_count, rule.error
                from _jobs_retention_delete_each(v_ids) d;
        end;
        v_deleted := v_deleted + v_count;
        if cardinality(v_ids) = v_wanted then
            -- Many jobs may have ended at one moment, so the next chunk begins with that moment;
            -- behind it, if none of them can be deleted.
            rule.round_from := v_last + case when v_count = 0 then interval '1 us' else '0' end;
        elsif rule.round_place < cardinality(rule.types) then
            rule.round_place := rule.round_place + 1;
            rule.round_from := rule.deleted_to;
        else
            rule.deleted_to := rule.round_to;
            rule.round_to := null;
        end if;
    end loop;
    update jobs_retention r
    set next_at = clock_timestamp()
            + case when rule.round_to is null then c_between_rounds else '0' end,
        healed_at = rule.healed_at,
        types = rule.types,
        deleted_to = rule.deleted_to,
        round_to = rule.round_to,
        round_place = rule.round_place,
        round_from = rule.round_from,
        error = rule.error
    where r.status = rule.status and r.job_type is not distinct from rule.job_type;
    return v_deleted;
end
$$;

comment on function _jobs_retention_sweep is
    'internal: deletes the next jobs of a locked rule; returns how many';
