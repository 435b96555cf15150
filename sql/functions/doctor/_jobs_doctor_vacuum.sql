-- held_for: a snapshot that is held for longer is a warning; ten times as long is bad.
create or replace function _jobs_doctor_vacuum(held_for interval default '5 minutes')
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
as $$
with holders as (
    select format('pid %s (%s, user %s, %s)', a.pid, coalesce(nullif(a.application_name, ''), '?'),
                  a.usename, a.state) as who,
        clock_timestamp() - a.xact_start as held,
        greatest(age(a.backend_xmin), age(a.backend_xid)) as transactions,
        format('end it: select pg_terminate_backend(%s)', a.pid) as advice
    from pg_stat_activity a
    where (a.datname = current_database() or a.datname is null) and a.pid <> pg_backend_pid()
        and a.backend_type <> 'autovacuum worker'
        and coalesce(a.backend_xmin, a.backend_xid) is not null
    union all
    select format('the prepared transaction %L of %s', p.gid, p.owner),
        clock_timestamp() - p.prepared, age(p.transaction),
        format('rollback prepared %L, or commit it', p.gid)
    from pg_prepared_xacts p where p.database = current_database()
    union all
    -- A slot has no time: it counts as old once it keeps a million transactions.
    select format('the replication slot %s', s.slot_name),
        case when age(s.xmin) > 1000000 then held_for * 11 else '0' end, age(s.xmin),
        format('if its standby is gone: select pg_drop_replication_slot(%L)', s.slot_name)
    from pg_replication_slots s where s.xmin is not null
), hidden as (
    select string_agg(distinct a.usename, ', ') as users
    from pg_stat_activity a
    where a.datname = current_database() and a.usesysid is not null
        and not pg_has_role(a.usesysid, 'usage')
        and not pg_has_role('pg_read_all_stats', 'usage')
), oldest as (
    select h.* from (select) one left join (
        select * from holders h order by h.held desc, h.transactions desc limit 1
    ) h on true
), dead as (
    -- What pg_stat_all_tables shows, without the joins of that view.
    select s.rows, s.live, s.vacuumed,
        case when s.rows > 100000 + s.live then 'bad'
            when s.rows > 10000 + s.live / 5 then 'warn' else 'ok' end as verdict
    from (
        select pg_stat_get_dead_tuples('jobs'::regclass) as rows,
            pg_stat_get_live_tuples('jobs'::regclass) as live,
            greatest(pg_stat_get_last_autovacuum_time('jobs'::regclass),
                     pg_stat_get_last_vacuum_time('jobs'::regclass)) as vacuumed
    ) s
)
select 'oldest snapshot',
    case when o.held > 10 * held_for then 'bad' when o.held > held_for then 'warn'
        when h.users is not null then 'warn' else 'ok' end,
    case when o.held > held_for or (o.held is not null and h.users is null)
            then format('%s has held back vacuum for %s, %s transactions', o.who,
                        date_trunc('second', o.held), o.transactions)
        when h.users is not null then format('unknown for the sessions of %s', h.users)
        else 'none holds back vacuum' end,
    case when o.held > held_for then o.advice
        else format('to see all: grant pg_read_all_stats to %I', current_user) end
from oldest o, hidden h
union all
select 'dead rows', d.verdict,
    format('%s dead, %s live; last vacuum %s', d.rows, d.live,
           coalesce(date_trunc('second', clock_timestamp() - d.vacuumed) || ' ago', 'unknown')),
    'see oldest snapshot, above; then: vacuum jobs'
from dead d
union all
select 'autovacuum',
    case when c.off is null then 'ok' else 'bad' end,
    coalesce(c.off, 'on'),
    case when c.off like '%jobs' then 'alter table jobs reset (autovacuum_enabled)'
        else 'switch autovacuum and track_counts on in postgresql.conf, then reload' end
from (
    select case
            when 'false' in (current_setting('autovacuum')::boolean::text,
                             current_setting('track_counts')::boolean::text)
                then 'off for the whole server'
            when exists (select from pg_options_to_table(t.reloptions) o
                         where o.option_name = 'autovacuum_enabled' and not o.option_value::boolean)
                then 'off for the table jobs'
        end as off
    from pg_class t where t.oid = 'jobs'::regclass
) c
$$;

comment on function _jobs_doctor_vacuum is
    'internal: the doctor''s checks of what keeps dead rows in the table, and which session';
