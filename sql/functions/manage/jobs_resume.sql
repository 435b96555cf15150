create or replace function jobs_resume(queue text) returns setof jobs_queues
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
begin
    perform _jobs_check_queue(jobs_resume.queue);
    return query
    insert into jobs_queues as q (queue, paused_at)
    values (jobs_resume.queue, null)
    on conflict (queue) do update
    set paused_at = null, paused_until = null, pause_reason = null
    returning q.*;
    perform _jobs_signal(jobs_resume.queue, '-infinity', jobs => 16);
    perform _jobs_audit_note('resume', filters => jsonb_build_object('queue', jobs_resume.queue));
end
$$;

comment on function jobs_resume is 'opens a paused queue again and wakes its workers';
