create or replace function _jobs_check_statuses(statuses text[], allowed text[]) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if array_ndims(statuses) > 1 or array_position(statuses, null) is not null
        or not statuses <@ allowed
    then
        raise exception using errcode = 'JQ003',
            message = format('statuses must be among %s and %s, not %s',
                             array_to_string(allowed[:cardinality(allowed) - 1], ', '),
                             allowed[cardinality(allowed)], left(statuses::text, 100));
    end if;
end
$$;

comment on function _jobs_check_statuses is
    'internal: refuses statuses that a call for many jobs does not take';
