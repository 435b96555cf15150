-- Locks up to max_jobs jobs that have one of these statuses and pass all filters, and returns their
-- ids in order; the filters that are null are left out. Two sessions cannot both win a job: the
-- second skips locked rows, and a row that has changed is compared again after the lock. Nothing
-- waits, so nothing deadlocks.
--
-- Each filter that has an index leads to its jobs. Without one, each status is a range of an index:
-- pending jobs queue by queue, others in the order of their ends. The other filters pass over rows
-- of that range. `offset 0` and the orders make the planner take the right index, whatever the
-- statistics say.
--
-- The statement is put together from constant parts. condition is put together by the caller, of
-- constants and quoted literals.
create or replace function _jobs_lock_matching(
    statuses text[],
    job_ids bigint[],
    job_types text[],
    queues text[],
    group_keys text[],
    reference_type text,
    reference_id bigint,
    reference_key text,
    batch_id bigint,
    created_before timestamptz,
    failed_since timestamptz,
    max_jobs int,
    condition text default 'true',
    due_after timestamptz default null
) returns bigint[]
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    c_columns constant text := 'j.id, j.status, j.job_type, j.queue, j.group_key, '
        'j.reference_type, j.reference_id, j.reference_key, j.batch_id, j.created_at, '
        'j.finished_at, j.run_at';
    v_path text;
    v_filters text;
    v_ids bigint[];
begin
    perform _jobs_check_max_jobs(max_jobs);
    v_filters := concat_ws(' and ', 'p.status = any ($1)',
        case when job_ids is not null then 'p.id = any ($2)' end,
        case when job_types is not null then 'p.job_type = any ($3)' end,
        case when queues is not null then 'p.queue = any ($4)' end,
        case when group_keys is not null then 'p.group_key = any ($5)' end,
        case when reference_type is not null then 'p.reference_type = $6' end,
        case when reference_id is not null then 'p.reference_id = $7' end,
        case when reference_key is not null then 'p.reference_key = $8' end,
        case when batch_id is not null then 'p.batch_id = $9' end,
        case when created_before is not null then 'p.created_at < $10' end,
        case when failed_since is not null
            then 'p.status = ''failed'' and p.finished_at >= $11' end,
        case when due_after is not null then 'p.run_at > $13' end);
    v_path := case
        when job_ids is not null then 'select %s from jobs j where j.id = any ($2)'
        -- As long as the batch's callback has a row.
        when exists (select from jobs_flows f where f.job_id = batch_id)
            then 'select %s from jobs_flow_edges e join jobs j on j.id = e.parent_id'
                ' where e.child_id = $9'
        when reference_type is not null and reference_id is not null
            then 'select %s from jobs j where j.reference_type = $6'
                ' and j.reference_id between $7 and $7 order by j.reference_id'
        when reference_type is not null and reference_key is not null
            then 'select %s from jobs j where j.reference_type = $6'
                ' and j.reference_key between $8 and $8 order by j.reference_key'
        when reference_id is not null then 'select %s from jobs j where j.reference_id = $7'
        when reference_type is not null then 'select %s from jobs j where j.reference_type = $6'
        when group_keys is not null and statuses <@ '{pending,processing,blocked}'
            then 'select %s from (select q.queue from _jobs_queues_of_groups() q(queue)) q'
                ' cross join (select distinct unnest($5) as group_key) g'
                ' cross join lateral (select * from jobs j where j.queue = q.queue'
                ' and j.group_key = g.group_key and j.group_key is not null'
                ' and j.finished_at is null offset 0) j'
        when job_types is not null
            then 'select %s from (select distinct unnest($1) as status) s'
                ' cross join (select distinct unnest($3) as job_type) t'
                ' cross join lateral (select * from jobs j where j.status = s.status'
                ' and j.job_type = t.job_type order by j.finished_at offset 0) j'
        else concat_ws(' union all ',
            case when 'pending' = any (statuses) and queues is not null
                    then 'select %1$s from (select distinct unnest($4) as queue) q'
                        ' cross join lateral ((select * from jobs j where j.status = ''pending'''
                        ' and j.group_key is null and j.queue = q.queue'
                        ' order by j.priority, j.job_type, j.run_at, j.id)'
                        ' union all (select * from jobs j where j.group_key is not null'
                        ' and j.finished_at is null and j.queue = q.queue'
                        ' and j.status = ''pending'' order by j.group_key, j.status)) j'
                when 'pending' = any (statuses)
                    then '(select %1$s from jobs j where j.status = ''pending'''
                        ' and j.group_key is null'
                        ' order by j.queue, j.priority, j.job_type, j.run_at, j.id)'
                        ' union all (select %1$s from jobs j where j.group_key is not null'
                        ' and j.finished_at is null and j.status = ''pending'''
                        ' order by j.queue, j.group_key, j.status)' end,
            'select %1$s from (select distinct unnest(array_remove($1, ''pending'')) as status) s'
            ' cross join lateral (select * from jobs j where j.status = s.status'
            ' and j.status <> ''pending''' ||
            case when failed_since is not null then ' and j.finished_at >= $11' else '' end ||
            ' order by j.finished_at offset 0) j') end;
    -- What another session has changed meanwhile is compared again with status and condition.
    execute format(
        'select array(select l.id from ('
            'select j.id from (select p.id from (%s offset 0) p where %s) f'
            ' join jobs j on j.id = f.id where j.status = any ($1) and %s'
            ' and ($13 is null or j.run_at > $13)'
            ' limit $12 for no key update of j skip locked) l)',
        format(v_path, c_columns), v_filters, condition)
    into v_ids
    using statuses, job_ids, job_types, queues, group_keys, reference_type, reference_id,
        reference_key, batch_id, created_before, failed_since, coalesce(max_jobs, 10000), due_after;
    return array(select i.id from unnest(v_ids) i(id) order by i.id);
end
$$;

comment on function _jobs_lock_matching is
    'internal: locks jobs that pass these filters, and returns their ids';
