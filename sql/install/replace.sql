-- `create or replace` with one more argument makes a second function, and with another result or
-- a renamed argument it fails. So this drops each function that differs from
-- sql/install/signatures.sql, and keeps its owner and grants for sql/install/regrant.sql.
do $replace$
declare
    v_old record;
    v_lost jsonb := '[]';
begin
    for v_old in
        with expected as (
            select s.name, btrim(regexp_replace(s.arguments, '\s+', ' ', 'g')) as arguments,
                btrim(regexp_replace(s.result, '\s+', ' ', 'g')) as result
            from json_to_recordset(current_setting('pgjobs.signatures')::json)
                as s (name text, arguments text, result text)
        ), present as (
            select p.proname as name, pg_get_function_arguments(p.oid) as arguments,
                pg_get_function_result(p.oid) as result, 'routine' as kind,
                p.oid::regprocedure::text as target, p.proowner as owner, p.proacl as acl
            from pg_proc p
            where p.pronamespace = quote_ident(current_schema())::regnamespace
            union all
            select c.relname, (
                    select string_agg(format('%I %s', a.attname,
                        format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum)
                    from pg_attribute a where a.attrelid = c.oid and a.attnum > 0),
                'view', 'view', c.oid::regclass::text, c.relowner, c.relacl
            from pg_class c
            where c.relnamespace = quote_ident(current_schema())::regnamespace and c.relkind = 'v'
        )
        select present.*, expected.result is null as retired
        from present
        join expected using (name)
        where expected.arguments is distinct from present.arguments
            or expected.result is distinct from present.result
        -- Views first: they may call the functions.
        order by present.kind desc
    loop
        execute format('drop %s %s', v_old.kind, v_old.target);
        if not v_old.retired then
            v_lost := v_lost || jsonb_build_object(
                'name', v_old.name,
                'kind', v_old.kind,
                'owner', pg_get_userbyid(v_old.owner),
                'granted', v_old.acl is not null,
                'grants', (
                    select coalesce(jsonb_agg(jsonb_build_object(
                        'privilege', g.privilege_type,
                        'to', case g.grantee when 0 then 'public'
                            else quote_ident(pg_get_userbyid(g.grantee)) end,
                        'grantable', g.is_grantable)), '[]')
                    from aclexplode(v_old.acl) g));
        end if;
    end loop;
    perform set_config('pgjobs.lost', v_lost::text, true);
end
$replace$;
