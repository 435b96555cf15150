create or replace function _jobs_queues_at_limit()
returns table (queue text, told text)
language sql volatile security definer
set search_path from current
as $$
select a.queue, a.told
from (
    select q.queue, _jobs_told_limit(q) as told from jobs_queues q
    where num_nonnulls(q.max_running, q.rate_count) > 0
) a
where a.told is not null
$$;

comment on function _jobs_queues_at_limit is
    'internal: the queues whose own limits let nothing start now, and which limit it is';
