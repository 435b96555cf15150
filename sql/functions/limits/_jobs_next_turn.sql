create or replace function _jobs_next_turn(queue text, job_types text[]) returns timestamptz
language sql volatile
set search_path from current
as $$
select min(n.turn_at)
from unnest(coalesce(job_types, _jobs_turn_types(queue))) k(job_type)
cross join lateral (
    select t.turn_at from jobs_turns t
    where t.queue = _jobs_next_turn.queue and t.job_type = k.job_type
        and t.turn_at >= coalesce((select f.turns_from from jobs_turns_from f
                                   where f.queue = _jobs_next_turn.queue
                                       and f.marked_at <= clock_timestamp()), '-infinity')
    order by t.turn_at
    limit 1
) n
$$;

comment on function _jobs_next_turn is
    'internal: when a claim of these types looks at the next group of the queue; null: at none';
