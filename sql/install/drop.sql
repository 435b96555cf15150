-- Drops the functions and views of sql/install/signatures.sql, so that the tables can be dropped
-- after them: the functions return rows of the tables, and the tables' triggers call the functions.
do $drop$
declare
    v_statement text;
begin
    for v_statement in
        with ours as (
            select s.name
            from json_to_recordset(current_setting('pgjobs.signatures')::json) as s (name text)
        )
        select format('drop trigger %I on %s', t.tgname, t.tgrelid::regclass)
        from pg_trigger t
        join pg_proc p on p.oid = t.tgfoid
        join ours on ours.name = p.proname
        where p.pronamespace = quote_ident(current_schema())::regnamespace and not t.tgisinternal
        union all
        select format('drop view %s', c.oid::regclass)
        from pg_class c
        join ours on ours.name = c.relname
        where c.relnamespace = quote_ident(current_schema())::regnamespace and c.relkind = 'v'
        union all
        select format('drop routine %s', p.oid::regprocedure)
        from pg_proc p
        join ours on ours.name = p.proname
        where p.pronamespace = quote_ident(current_schema())::regnamespace
    loop
        execute v_statement;
    end loop;
end
$drop$;
