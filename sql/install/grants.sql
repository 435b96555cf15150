-- PostgreSQL lets every role call a new function. Most of ours act as their owner, so PUBLIC loses
-- that right, and jobs_grant gives it role by role. Earlier grants stay. The owner needs none.
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
