-- Our functions find by name what the schema holds, beside what PostgreSQL has. Where an operator
-- or a function of the schema fits the types of a call better than PostgreSQL's own, the call gets
-- that one, and runs it as the owner of pgjobs. So the schema may hold nothing that a stranger can
-- change. A stranger is a role that is not the installer, a superuser or the owner of the database,
-- to which the installer does not belong, and which cannot become the installer.
--
-- Left out are the members of an extension whose owner is no stranger, and tables, because our
-- functions use no table but their own. A cast has neither schema nor owner. It counts as being
-- where its function and its types are, and as belonging to their owners.
--
-- sql/install.sql makes this function before it relies on anything else in the schema, so that an
-- upgrade replaces it in place: its arguments and its result stay as they are. Only names of
-- PostgreSQL are on its path.
create or replace function _jobs_objects_of_strangers(schema text, installer oid) returns text
language sql stable
set search_path to pg_catalog, pg_temp
as $$
with recursive above(role) as (
    select installer
    union
    select m.roleid from above a join pg_auth_members m on m.member = a.role
), stranger(role) as materialized (
    select r.oid from pg_roles r
    where not r.rolsuper
        and r.oid not in (select a.role from above a)
        and r.oid <> (select d.datdba from pg_database d where d.datname = current_database())
        -- Its only member is the owner of the database.
        and r.rolname <> 'pg_database_owner'
        and not pg_has_role(r.oid, installer, 'member')
), place(oid) as (
    select n.oid from pg_namespace n where n.nspname = schema
), function(oid, owner) as materialized (
    select p.oid, p.proowner from pg_proc p where p.pronamespace = (select p.oid from place p)
), type(oid, owner, relation) as materialized (
    select t.oid, t.typowner, t.typrelid from pg_type t
    where t.typnamespace = (select p.oid from place p)
), object(class, id, owner) as (
    select 'pg_proc'::regclass, f.oid, f.owner from function f
    union all
    select 'pg_operator'::regclass, o.oid, o.oprowner from pg_operator o
    where o.oprnamespace = (select p.oid from place p)
    union all
    -- Neither the array that comes with each type nor the rows of a table.
    select 'pg_type'::regclass, t.oid, t.owner from type t
    where not exists (select from pg_type e where e.typarray = t.oid)
        and not exists (select from pg_class c where c.oid = t.relation and c.relkind <> 'c')
    union all
    select 'pg_cast'::regclass, c.oid, part.owner
    from pg_cast c
    cross join lateral (
        select t.typowner as owner from pg_type t where t.oid in (c.castsource, c.casttarget)
        union all
        select p.proowner from pg_proc p where p.oid = c.castfunc
    ) part
    where c.castsource in (select t.oid from type t)
        or c.casttarget in (select t.oid from type t)
        or c.castfunc in (select f.oid from function f)
    union all
    select 'pg_opclass'::regclass, o.oid, o.opcowner from pg_opclass o
    where o.opcnamespace = (select p.oid from place p)
    union all
    select 'pg_opfamily'::regclass, o.oid, o.opfowner from pg_opfamily o
    where o.opfnamespace = (select p.oid from place p)
    union all
    select 'pg_collation'::regclass, c.oid, c.collowner from pg_collation c
    where c.collnamespace = (select p.oid from place p)
    union all
    select 'pg_conversion'::regclass, c.oid, c.conowner from pg_conversion c
    where c.connamespace = (select p.oid from place p)
    union all
    select 'pg_ts_config'::regclass, c.oid, c.cfgowner from pg_ts_config c
    where c.cfgnamespace = (select p.oid from place p)
    union all
    select 'pg_ts_dict'::regclass, d.oid, d.dictowner from pg_ts_dict d
    where d.dictnamespace = (select p.oid from place p)
), strange(name, place) as (
    select s.name, row_number() over (order by s.name)
    from (
        select distinct format('%s of %s', pg_describe_object(o.class, o.id, 0),
                               quote_ident(pg_get_userbyid(o.owner))) as name
        from object o
        where o.owner in (select s.role from stranger s)
            -- Whoever owns an extension may make own objects members of it. Users of a managed
            -- database are no superusers: there an administrator, who may create roles, owns the
            -- extensions.
            and not exists (
                select from pg_depend d
                join pg_extension e on e.oid = d.refobjid
                where d.classid = o.class and d.objid = o.id and d.deptype = 'e'
                    and d.refclassid = 'pg_extension'::regclass
                    and (e.extowner not in (select s.role from stranger s)
                        or (select r.rolcreaterole from pg_roles r where r.oid = e.extowner)
                            and not (select r.rolsuper from pg_roles r where r.oid = installer)))
    ) s
)
select string_agg(s.name, ', ' order by s.place) filter (where s.place <= 10)
    || case when count(*) > 10 then format(' and %s more', count(*) - 10) else '' end
from strange s
$$;

comment on function _jobs_objects_of_strangers is
    'internal: what another role owns in the schema and our functions might use; null: nothing';
