-- PostgreSQL lets every role call a new function. Our functions act as their owner, so no role may
-- call them until jobs_grant says so. Grants that were made before stay. The owner needs no grant.
do $grants$
declare
    v_function text;
begin
    for v_function in
        select p.oid::regprocedure
        from pg_proc p
        join json_to_recordset(current_setting('pgjobs.signatures')::json) as s (name text)
            on s.name = p.proname
        where p.pronamespace = quote_ident(current_schema())::regnamespace
            and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                        where a.grantee = 0)
    loop
        execute format('revoke all on function %s from public', v_function);
    end loop;
end
$grants$;
