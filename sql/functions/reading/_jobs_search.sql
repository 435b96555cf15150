-- The jobs that a list shows, in its order. before: the last job of the page before. Each order is
-- one that an index has:
--
-- pending jobs only         as claims take them, queue by queue, and in each queue behind the jobs
-- without a group those of groups, group by group (_jobs_search_pending)
--   jobs that have ended      those first that ended last
--   else                      the newest first, by id
--
-- The last two are walks, which pass over the jobs that the other filters exclude. Where a filter
-- has an index of its own and at most 20,000 jobs are behind it, those are read and sorted instead.
-- The walks end after max_read jobs (null: no end). The last row is then the job where it has
-- ended, with matches false; the search goes on before that job.
--
-- The statements are put together from constant parts, so that each has the conditions of the given
-- filters alone, and an index can serve them.
create or replace function _jobs_search(
    statuses text[] default null,
    job_types text[] default null,
    queues text[] default null,
    reference_type text default null,
    reference_id bigint default null,
    reference_key text default null,
    before bigint default null,
    max_jobs bigint default 20,
    max_read int default null,
    group_key text default null
) returns table (job_id bigint, matches boolean)
language plpgsql stable security definer rows 20
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    c_columns constant text := 'j.id, j.status, j.job_type, j.queue, j.reference_type, '
        'j.reference_id, j.reference_key, j.group_key, j.attempt, j.priority, j.run_at, '
        'j.finished_at';
    v_only_pending constant boolean := coalesce(statuses <@ '{pending}', false);
    v_only_ended constant boolean := coalesce(statuses <@ '{completed,failed,cancelled}', false);
    v_last jobs;
    v_filters text;
    v_order text;
    v_after text;
    v_set text;
    v_max_set bigint;
    v_is_larger boolean;
    v_walks text[];
    v_page text;
    v_ids bigint[];
    v_edge timestamptz;
    v_end bigint;
begin
    if '{}' in (statuses, job_types, queues) then
        return;
    end if;
    if before is not null and (v_only_pending or v_only_ended) then
        select j.* into v_last from jobs j where j.id = before;
        if v_last.id is null or v_only_ended and v_last.finished_at is null then
            raise exception using errcode = 'JQ001',
                message = format('there is no job %s any more that has ended, so the list cannot '
                                 'go on there: begin again', before);
        end if;
    end if;
    v_filters := concat_ws(' and ',
        case when statuses is not null then 'j.status = any ($1)' end,
        case when job_types is not null then 'j.job_type = any ($2)' end,
        case when queues is not null then 'j.queue = any ($3)' end,
        case when reference_type is not null then 'j.reference_type = $4' end,
        case when reference_id is not null then 'j.reference_id = $5' end,
        case when reference_key is not null then 'j.reference_key = $6' end,
        case when group_key is not null then 'j.group_key = $11' end,
        'true');
    v_after := 'true';
    if v_only_pending then
        -- Without a group: as a group and a type before all others, of one rank per priority.
        v_order := 'j.queue, coalesce(j.group_key, ''''), '
            'case when j.group_key is null then '''' else j.job_type end, '
            'case when j.group_key is null then -j.priority '
            'else _jobs_rank(j.attempt, j.priority) end, j.run_at, j.id';
        if before is not null then
            v_after := format('(%s) > (%s)', v_order, replace(v_order, 'j.', '($9).'));
        end if;
    elsif v_only_ended then
        v_order := 'j.finished_at desc, j.id desc';
        if before is not null then
            v_after := '(j.finished_at, j.id) < (($9).finished_at, $7)';
        end if;
    else
        v_order := 'j.id desc';
        if before is not null then
            v_after := 'j.id < $7';
        end if;
    end if;

    -- Pending jobs of a reference have no other way.
    v_max_set := case when not v_only_pending
        or coalesce(reference_type, reference_id::text, reference_key) is null then 20000 end;
    -- The order of each makes the planner take the right index, whatever the statistics say.
    foreach v_set in array array_remove(array[
        case when reference_type is not null and reference_id is not null
                then 'from jobs j where j.reference_type = $4'
                    ' and j.reference_id between $5 and $5 order by j.reference_id'
            when reference_type is not null and reference_key is not null
                then 'from jobs j where j.reference_type = $4'
                    ' and j.reference_key between $6 and $6 order by j.reference_key'
            when reference_id is not null then 'from jobs j where j.reference_id = $5'
            when reference_type is not null then 'from jobs j where j.reference_type = $4' end,
        case when group_key is not null and statuses <@ '{pending,processing,blocked}'
            then 'from (select q.queue from _jobs_queues_of_groups() q(queue)) q'
                ' cross join lateral (select * from jobs j where j.queue = q.queue'
                ' and j.group_key = $11 and j.group_key is not null and j.finished_at is null'
                ' offset 0) j' end,
        case when statuses <@ '{processing,blocked}'
            then 'from jobs j where j.status = any ($1) and j.status <> ''pending'''
                ' order by j.status, j.finished_at' end,
        case when job_types is not null and statuses is not null
                then 'from (select distinct unnest($1) as status) s'
                    ' cross join (select distinct unnest($2) as job_type) t'
                    ' cross join lateral (select * from jobs j where j.status = s.status'
                    ' and j.job_type = t.job_type offset 0) j'
            when job_types is not null then 'from jobs j where j.job_type = any ($2)' end
    ], null) loop
        v_set := format('select %s %s limit $10', c_columns, v_set);
        execute format('select count(*) > $10 - 1 from (%s) j', v_set)
        into v_is_larger
        using statuses, job_types, queues, reference_type, reference_id, reference_key,
            before, max_jobs, v_last, v_max_set + 1, group_key;
        if v_is_larger is not true then
            return query execute format(
                'select j.id, true from (%s) j where %s and %s order by %s limit $8',
                v_set, v_filters, v_after, v_order)
            using statuses, job_types, queues, reference_type, reference_id, reference_key,
                before, max_jobs, v_last, v_max_set, group_key;
            return;
        end if;
    end loop;

    if v_only_pending then
        return query
        select s.job_id, true
        from _jobs_search_pending(job_types, queues, group_key, max_jobs, v_last) s;
        return;
    end if;
    -- An index leads to one status at a time.
    v_walks := case when v_only_ended then array(
        select format('select %s from jobs j where j.status = %L and j.status <> ''pending'' and %s'
                      ' order by j.finished_at desc', c_columns, s.status, v_after)
        from (select distinct unnest(statuses) as status) s)
    else array[format('select %s from jobs j where %s order by j.id desc', c_columns, v_after)] end;
    v_page := (
        select string_agg(format('(select j.* from (%s limit $10) j where %s order by %s limit $8)',
                                 w.walk, v_filters, v_order), ' union all ')
        from unnest(v_walks) w(walk));
    execute format('select array(select j.id from (%s) j order by %s limit $8)', v_page, v_order)
    into v_ids
    using statuses, job_types, queues, reference_type, reference_id, reference_key,
        before, max_jobs, v_last, max_read / cardinality(v_walks), group_key;
    if cardinality(v_ids) < max_jobs and max_read is not null then
        -- Where the first of the walks has ended. Without other columns an index is enough.
        v_page := (
            select string_agg(format('(%s offset $10 - 1 limit 1)', replace(
                w.walk, c_columns,
                case when v_only_ended then 'j.finished_at, null::bigint as id'
                    else 'null::timestamptz as finished_at, j.id' end)), ' union all ')
            from unnest(v_walks) w(walk));
        execute format('select max(j.finished_at), max(j.id) from (%s) j', v_page)
        into v_edge, v_end
        using statuses, job_types, queues, reference_type, reference_id, reference_key,
            before, max_jobs, v_last, max_read / cardinality(v_walks), group_key;
    end if;
    if v_edge is not null then
        -- Of the jobs that ended in the same moment only some may have been read: the search goes
        -- on with all of them. Only where more than max_read ended in one moment it goes on within
        -- them, and may miss some, because the index does not have them in the order of their ids.
        v_end := (
            select e.id
            from (select distinct unnest(statuses) as status) s
            cross join lateral (
                select j.id, j.finished_at from jobs j
                where j.status = s.status and j.status <> 'pending' and j.finished_at > v_edge
                    and (before is null or (j.finished_at, j.id) < (v_last.finished_at, before))
                order by j.finished_at, j.id
                limit 1
            ) e
            order by e.finished_at, e.id
            limit 1);
        if v_end is null then
            v_page := (
                select string_agg(format('(select min(j.id) as id from (%s limit $10) j)', w.walk),
                                  ' union all ')
                from unnest(v_walks) w(walk));
            execute format('select max(j.id) from (%s) j', v_page)
            into v_end
            using statuses, job_types, queues, reference_type, reference_id, reference_key,
                before, max_jobs, v_last, max_read / cardinality(v_walks), group_key;
        end if;
        v_ids := array(
            select f.id
            from unnest(v_ids) with ordinality f(id, place)
            join jobs j on j.id = f.id
            join jobs e on e.id = v_end and (j.finished_at, j.id) >= (e.finished_at, e.id)
            order by f.place);
    end if;
    return query
    select f.id, true from unnest(v_ids) with ordinality f(id, place) order by f.place;
    if v_end is not null then
        return query select v_end, false;
    end if;
end
$$;

comment on function _jobs_search is
    'internal: which jobs a list shows, and where the search for them has ended';
