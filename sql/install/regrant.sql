-- Gives the functions and views that sql/install/replace.sql dropped, now made again, the owner and
-- the grants that they had.
do $regrant$
declare
    v_new record;
    v_grant record;
begin
    for v_new in
        select lost.owner, lost.granted, lost.grants, lost.kind, case lost.kind
            when 'view' then (
                select c.oid::regclass::text from pg_class c
                where c.relnamespace = quote_ident(current_schema())::regnamespace
                    and c.relname = lost.name)
            else (
                select p.oid::regprocedure::text from pg_proc p
                where p.pronamespace = quote_ident(current_schema())::regnamespace
                    and p.proname = lost.name)
            end as target
        from jsonb_to_recordset(current_setting('pgjobs.lost')::jsonb)
            as lost (name text, kind text, owner text, granted boolean, grants jsonb)
    loop
        if v_new.owner <> current_user then
            execute format('alter %s %s owner to %I', v_new.kind, v_new.target, v_new.owner);
        end if;
        -- Without an ACL the defaults hold: everybody may call a function.
        if v_new.granted then
            execute format('revoke all on %s %s from public',
                case v_new.kind when 'view' then 'table' else v_new.kind end, v_new.target);
        end if;
        for v_grant in
            select * from jsonb_to_recordset(v_new.grants)
                as g (privilege text, "to" text, grantable boolean)
        loop
            execute format('grant %s on %s %s to %s %s', v_grant.privilege,
                case v_new.kind when 'view' then 'table' else v_new.kind end, v_new.target,
                v_grant."to", case when v_grant.grantable then 'with grant option' end);
        end loop;
    end loop;
end
$regrant$;
