-- Silent while the server's notification queue is half full: a full one would make the caller's
-- commit fail, and workers poll every 10 s anyway.
create or replace function jobs_wake(queues text[]) returns void
language plpgsql volatile
set search_path from current
as $$
begin
    if pg_notification_queue_usage() < 0.5 then
        perform pg_notify(jobs_channel('jobs'), q.queue)
        from (select distinct unnest(jobs_wake.queues)) q(queue);
    end if;
end
$$;

comment on function jobs_wake is 'internal: tells the workers of these queues to look, on commit';
