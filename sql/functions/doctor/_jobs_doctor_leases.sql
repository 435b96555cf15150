create or replace function _jobs_doctor_leases()
returns table (check_name text, verdict text, detail text, advice text)
language sql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
with processing as (
    select count(*) filter (where j.lease_until < clock_timestamp()) as expired,
        clock_timestamp() - min(j.lease_until) as overdue,
        count(*) filter (where j.lease_until is null) as leaseless,
        max(j.age) filter (where j.lease_until is null) as held
    from jobs_list j where j.status = 'processing'
)
select 'expired leases',
    case when p.expired = 0 then 'ok' when p.overdue < '1 minute' then 'warn' else 'bad' end,
    case when p.expired = 0 then 'none'
        else format('%s, the oldest for %s', p.expired, date_trunc('second', p.overdue)) end,
    'a running worker takes such jobs back within 10 s; without one: '
        'select count(*) from jobs_recover()'
from processing p
union all
select 'jobs held without a lease',
    case when p.held > '1 hour' then 'warn' else 'ok' end,
    case when p.leaseless = 0 then 'none'
        else format('%s, the longest for %s', p.leaseless, date_trunc('second', p.held)) end,
    'nothing takes them back by itself: if their worker is gone, '
        'select count(*) from jobs_recover(worker)'
from processing p
$$;

comment on function _jobs_doctor_leases is
    'internal: the doctor''s checks of jobs that no worker finishes';
