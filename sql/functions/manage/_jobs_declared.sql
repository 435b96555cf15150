-- declared: what the row held so far, or null. The hashes of the last 100 definitions before this
-- one stay, so that older code that restarts is known as such.
create or replace function _jobs_declared(
    app text,
    definition jsonb,
    at timestamptz,
    declared jsonb
) returns jsonb
language sql immutable
set search_path from current
return jsonb_build_object(
    'app', app, 'at', at, 'definition', definition,
    'former', jsonb_path_query_array(
        coalesce(declared -> 'former', '[]') - md5(definition::text)
            || coalesce(to_jsonb(md5((declared -> 'definition')::text)), '[]'),
        '$[last - 99 to last]'));

comment on function _jobs_declared is
    'internal: what a row keeps of the code that declared it';
