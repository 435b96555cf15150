create or replace function _jobs_limits_undeclare(queue text) returns void
language plpgsql volatile security definer
set search_path from current
as $$
begin
    perform from jobs_limit(queue);
    update jobs_queues q set declared = null where q.queue = _jobs_limits_undeclare.queue;
end
$$;

comment on function _jobs_limits_undeclare is
    'internal: removes the limits of a queue, and that code has declared them';
