create or replace function _jobs_told_limit(settings jobs_queues, group_key text default null)
returns text
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
as $$
select case
    when l.places = 0 then l.name || ' is 0'
    when r.running >= l.places then format('%s of %s run', r.running, l.places)
    when l.starts is not null and o.opens_at > clock_timestamp() then
        format('rate %s per %s used up, next in %s', l.starts, l.period,
               date_trunc('second', o.opens_at - clock_timestamp()) + interval '1 second')
    end
from (
    select 'max_running' as name, settings.max_running as places, settings.rate_count as starts,
        settings.rate_period as period
    where group_key is null
    union all
    select 'max_running_per_group', settings.max_running_per_group, settings.group_rate_count,
        settings.group_rate_period
    where group_key is not null
) l
cross join lateral (
    select case when l.places is not null then (
        select count(*) from (
            select from jobs j
            where j.status = 'processing' and j.finished_at is null and j.queue = settings.queue
                and _jobs_told_limit.group_key is null
            limit l.places) j) + (
        select count(*) from (
            select from jobs j
            where j.status = 'processing' and j.finished_at is null and j.queue = settings.queue
                and j.group_key is not null and j.group_key = _jobs_told_limit.group_key
            limit l.places) j) end as running
) r
cross join lateral (
    select case when l.starts is not null then _jobs_room_at(
        settings.queue, coalesce(_jobs_told_limit.group_key, ''), l.starts, l.period,
        clock_timestamp()) end as opens_at
) o
$$;

comment on function _jobs_told_limit is
    'internal: which limit of a queue or a group lets nothing start now; null: none';
