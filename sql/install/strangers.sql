-- Refuses a schema that holds what a stranger could let us run. Only names of PostgreSQL are on the
-- path until that is known.
do $strangers$
declare
    v_schema constant text := current_setting('pgjobs.schema');
    v_objects text;
begin
    execute format('select %I._jobs_objects_of_strangers($1, $2)', v_schema)
    into v_objects
    using v_schema, (select r.oid from pg_roles r where r.rolname = current_user);
    if v_objects is not null then
        raise exception 'the schema % holds objects of other roles, which the functions of pgjobs'
            ' might run, and nothing was changed: %', quote_ident(v_schema), v_objects
            using errcode = 'JQ005', hint = format('Drop them, or give them to %I (alter ... owner'
                ' to), or choose a schema of its own by --schema (or psql -v schema=...).',
                current_user);
    end if;
end
$strangers$;
