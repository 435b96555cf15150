-- What the objects of a batch say about parents and batches. A function of its own, because each
-- column costs each job. depends_on holds ids, which are numbers, and refs, which are strings. What
-- is no list gives a null, which _jobs_check_flow refuses.
create or replace function _jobs_unpack_flow(jobs jsonb) returns table (
    depends_on bigint[],
    refs text[],
    on_parent_failed text,
    batch_id bigint,
    ref text,
    place bigint
)
language sql immutable
set search_path from current
as $$
select coalesce(d.ids, '{}'), coalesce(d.refs, '{}'), i.item ->> 'on_parent_failed',
    (i.item ->> 'batch_id')::bigint, i.item ->> 'ref', i.place
from jsonb_array_elements(jobs) with ordinality i(item, place)
left join lateral (
    select array_agg(distinct (d.parent #>> '{}')::bigint)
            filter (where jsonb_typeof(d.parent) <> 'string') as ids,
        array_agg(distinct d.parent #>> '{}')
            filter (where jsonb_typeof(d.parent) = 'string') as refs
    from jsonb_array_elements(case jsonb_typeof(i.item -> 'depends_on')
        when 'array' then i.item -> 'depends_on' else '[null]' end) d(parent)
) d on jsonb_typeof(i.item -> 'depends_on') <> 'null'
$$;

comment on function _jobs_unpack_flow is
    'internal: what the objects of a batch say about parents and batches, numbered from 1';
