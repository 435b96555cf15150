create or replace function _jobs_doctor_schema()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
as $$
with expected(index_name) as (
    values ('jobs_id_is_the_key'), ('ix_jobs_claim'), ('ix_jobs_crashed'), ('ix_jobs_expires'),
        ('ix_jobs_unique_key'), ('ix_jobs_job_type'), ('ix_jobs_status'),
        ('ix_jobs_reference_id'), ('ix_jobs_reference'),
        ('ix_jobs_reference_key'), ('ix_jobs_group')
), broken as (
    select string_agg(e.index_name || case when i.indexrelid is null then ' (missing)'
                          else ' (invalid)' end, ', ' order by e.index_name) as names,
        string_agg(case when i.indexrelid is not null
                       then format('drop index %s; ', i.indexrelid::regclass) else '' end,
            '') as drops
    from expected e
    left join pg_index i on i.indrelid = 'jobs'::regclass
        and i.indexrelid = (select c.oid from pg_class c where c.relname = e.index_name
                            and c.relnamespace = quote_ident(current_schema())::regnamespace)
    where i.indexrelid is null or not i.indisvalid or not i.indisready
), open_functions as (
    select string_agg(p.proname, ', ' order by p.proname) as names
    from pg_proc p
    where p.pronamespace = quote_ident(current_schema())::regnamespace and p.proname ~ '^_?jobs_'
        and p.prosecdef and has_function_privilege('public', p.oid, 'execute')
)
select 'indexes', case when b.names is null then 'ok' else 'bad' end,
    coalesce(b.names, 'all there and valid'),
    format('%spgjobs sql | psql -v schema=%s makes them again', b.drops, current_schema())
from broken b
union all
select 'persistence',
    case t.relpersistence when 'p' then 'ok' else 'bad' end,
    case t.relpersistence when 'p' then 'logged'
        else 'unlogged: a crash empties the table jobs' end,
    'alter table jobs set logged'
from pg_class t where t.oid = 'jobs'::regclass
union all
select 'notifying trigger',
    case when g.tgenabled in ('O', 'A') then 'ok' else 'bad' end,
    case when g.tgenabled in ('O', 'A') then 'enabled' when g.tgenabled is null then 'missing'
        else 'disabled: workers find new jobs by ticks only' end,
    case when g.tgenabled is null then 'pgjobs migrate makes it again'
        else 'alter table jobs enable trigger jobs_notify' end
from (select) one
left join pg_trigger g on g.tgrelid = 'jobs'::regclass and g.tgname = 'jobs_notify'
union all
select 'privileges',
    case when o.names is not null or p.may_create then 'bad' else 'ok' end,
    case when o.names is not null then 'anybody may call ' || o.names
        when p.may_create then format('anybody may create objects in schema %I, and the functions'
            ' would use those', current_schema())
        else 'nobody may call the functions without a grant' end,
    case when o.names is not null then 'pgjobs migrate revokes that; then grant by pgjobs grant'
        else format('revoke create on schema %I from public', current_schema()) end
from open_functions o,
    (select has_schema_privilege('public', current_schema(), 'create') as may_create) p
union all
select 'objects of other roles', case when s.objects is null then 'ok' else 'bad' end,
    coalesce(s.objects || ': the functions of pgjobs might run them', 'none'),
    format('drop them, or give them to %1$s: alter ... owner to %1$s', t.relowner::regrole)
from pg_class t
cross join lateral _jobs_objects_of_strangers(current_schema(), t.relowner) s(objects)
where t.oid = 'jobs'::regclass
union all
select 'ids', case when i.mend is null then 'ok' else 'bad' end,
    case when i.mend is null then 'the next ids are free'
        else 'the sequence of jobs.id is behind: enqueueing fails, because rows have the next ids'
        end,
    i.mend
from _jobs_ids_behind() i(mend)
union all
select 'version', 'ok', jobs_version(), null
$$;

comment on function _jobs_doctor_schema is
    'internal: the doctor''s checks that table, indexes, trigger and privileges are as installed';
