-- PostgreSQL does not tell how far each listener has read. A listener falls behind if it is within
-- a transaction, because it reads nothing until the transaction ends, or if its client takes
-- nothing from the socket. This check names the oldest such session.
create or replace function _jobs_doctor_notify()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
as $$
with suspect as (
    select s.* from (select) one left join (
        select a.pid, format('pid %s (%s, user %s, %s, since %s)', a.pid,
                      coalesce(nullif(a.application_name, ''), '?'), a.usename,
                      case a.wait_event when 'ClientWrite' then 'its client does not read'
                          else a.state end,
                      date_trunc('second', clock_timestamp() - a.state_change)) as who
        from pg_stat_activity a
        where a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
            and (a.wait_event = 'ClientWrite' or a.state like 'idle in transaction%')
        order by a.wait_event = 'ClientWrite' desc, a.state_change
        limit 1
    ) s on true
)
select 'notification queue',
    case when u.usage >= 0.5 then 'bad' when u.usage >= 0.1 then 'warn' else 'ok' end,
    format('%s %% full%s', round(u.usage::numeric * 100, 1), case
        when u.usage < 0.1 then ''
        when s.pid is not null then '; probably behind: ' || s.who
        else '; it is unknown which listener is behind' end),
    case when s.pid is not null then format('end the listener that is behind: '
            'select pg_terminate_backend(%s); half full: workers only tick', s.pid)
        else format('end the listener that is behind; to see which one: '
            'grant pg_read_all_stats to %I', current_user) end
from pg_notification_queue_usage() u(usage), suspect s
$$;

comment on function _jobs_doctor_notify is
    'internal: the doctor''s check of the queue of notifications, which all databases share';
