-- Acts as its owner, because an observer may not read the flows. Reads up to 1,000 blocked jobs.
create or replace function _jobs_doctor_flows()
returns table (check_name text, verdict text, detail text, advice text)
language plpgsql stable security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set jit = off
as $$
#variable_conflict use_column
declare
    c_max_read constant int := 1000;
    c_max_named constant int := 3;
    c_open_for constant interval := '1 hour';
    c_not_counted_for constant interval := '1 minute';
    v_now constant timestamptz := clock_timestamp();
    v_stuck text;
    v_open text;
    v_uncounted text;
begin
    if exists (select from jobs_flows f) then
        with blocked as materialized (
            select j.id, j.job_type, j.updated_at, f.*,
                f.parents - f.completed - f.failed - f.cancelled as running
            from (
                select j.id, j.job_type, j.updated_at from jobs j
                where j.status = 'blocked'
                order by j.status, j.finished_at
                limit c_max_read
            ) j
            join jobs_flows f on f.job_id = j.id
        ), named as (
            select b.*, case
                    when b.is_open and b.running <= 0 and b.updated_at < v_now - c_open_for
                        then 'open'
                    when not b.is_open and b.running <= 0 and b.on_parent_failed = 'wait'
                        and b.failed + b.cancelled > 0 then 'stuck' end as kind
            from blocked b
        ), placed as (
            select n.*, row_number() over (partition by n.kind order by n.id) as place,
                count(*) over (partition by n.kind) as of_kind
            from named n
            where n.kind is not null
        ), told as (
            select p.kind, string_agg(format('%s (%s%s)', p.id, p.job_type, case p.kind
                    when 'open' then format(', %s members ended %s ago', p.parents,
                                            date_trunc('second', v_now - p.updated_at))
                    when 'stuck' then format(', %s of its %s parents did not complete',
                                             p.failed + p.cancelled, p.parents) end), ', '
                order by p.id)
                || case when min(p.of_kind) > c_max_named
                    then format(', and %s more', min(p.of_kind) - c_max_named) else '' end as list
            from placed p
            where p.place <= c_max_named
            group by p.kind
        )
        select min(t.list) filter (where t.kind = 'stuck'),
            min(t.list) filter (where t.kind = 'open')
        into v_stuck, v_open
        from told t;

        with uncounted as (
            (select c.child_id as id from jobs_flow_changes c
             where c.noted_at < v_now - c_not_counted_for
             order by c.child_id
             limit c_max_read)
            union
            (select e.child_id
             from (select e.child_id from jobs_flow_edges e
                   where not e.is_attached
                   order by e.child_id, e.parent_id
                   limit c_max_read) e
             join jobs j on j.id = e.child_id
                 and j.created_at < v_now - c_not_counted_for)
        ), named as (
            select u.id, row_number() over (order by u.id) as place from uncounted u
        )
        select string_agg(n.id::text, ', ' order by n.id) filter (where n.place <= c_max_named)
            || case when count(*) > c_max_named
                then format(', and %s more', count(*) - c_max_named) else '' end
        into v_uncounted
        from named n;
    end if;
    return query values
        ('jobs blocked for ever', case when v_stuck is not null then 'warn' else 'ok' end,
         coalesce(v_stuck, 'none'),
         'they wait for all their parents to complete: pgjobs why ID names those that failed; retry '
             'these (pgjobs retry ID), or give the job up (pgjobs cancel ID)'),
        ('open batches', case when v_open is not null then 'warn' else 'ok' end,
         coalesce(v_open, 'none whose members have all ended for an hour'),
         'the producer may be gone before it closed the batch: select jobs_batch_close(ID), or '
             'pgjobs cancel ID'),
        ('flows that nobody counts', case when v_uncounted is not null then 'bad' else 'ok' end,
         coalesce(v_uncounted, 'none'),
         'no worker has counted their parents for a minute: start one, or select '
             'jobs_recover()');
end
$$;

comment on function _jobs_doctor_flows is
    'internal: the doctor''s checks of jobs that wait for others, and of batches';
