create or replace function _jobs_check_flow(
    depends_on bigint[],
    on_parent_failed text,
    on_conflict text
) returns void
language plpgsql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_missing bigint;
begin
    if on_parent_failed not in ('cancel', 'run', 'wait', 'only') then
        raise exception using errcode = 'JQ003',
            message = format('on_parent_failed must be cancel, run, wait or only, not %s',
                             left(on_parent_failed, 40));
    end if;
    if array_ndims(depends_on) > 1 or array_position(depends_on, null) is not null then
        raise exception using errcode = 'JQ003',
            message = 'depends_on must be a plain list of job ids without nulls';
    end if;
    if on_conflict in ('replace', 'debounce') then
        raise exception using errcode = 'JQ003',
            message = format('on_conflict %s is not for jobs with depends_on or batch_id: a job that '
                             'is replaced keeps the parents that it has', on_conflict),
            hint = 'Cancel the job that waits, then enqueue.';
    end if;
    select min(d.id) into v_missing
    from unnest(depends_on) d(id)
    where not exists (select from jobs j where j.id = d.id);
    if v_missing is not null then
        raise exception using errcode = 'JQ001',
            message = format('there is no job %s, which depends_on names', v_missing);
    end if;
end
$$;

comment on function _jobs_check_flow is
    'internal: raises if what a new job says about its parents or its batch is invalid';
