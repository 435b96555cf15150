-- Goes from queue to queue by one index probe each.
create or replace function _jobs_queues_of_groups() returns setof text
language sql stable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
with recursive present(queue) as (
    (
        select j.queue from jobs j
        where j.group_key is not null and j.finished_at is null
        order by j.queue, j.group_key, j.status limit 1
    )
    union all
    select n.queue
    from present p
    cross join lateral (
        select j.queue from jobs j
        where j.group_key is not null and j.finished_at is null and j.queue > p.queue
        order by j.queue, j.group_key, j.status limit 1
    ) n
)
select p.queue from present p
$$;

comment on function _jobs_queues_of_groups is
    'internal: the queues in which a job with a group is pending or runs';
