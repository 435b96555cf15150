create or replace function jobs_pause(queue text) returns setof jobs_queues
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
begin
    perform _jobs_check_queue(jobs_pause.queue);
    return query
    insert into jobs_queues as q (queue, paused_at)
    values (jobs_pause.queue, clock_timestamp())
    on conflict (queue) do update set paused_at = coalesce(q.paused_at, excluded.paused_at)
    returning q.*;
end
$$;

comment on function jobs_pause is 'pauses a queue: claims skip it; running jobs finish';
