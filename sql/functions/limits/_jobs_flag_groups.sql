-- Two sessions may both set the flag of a queue; neither waits for the other.
create or replace function _jobs_flag_groups(queues text[]) returns void
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
declare
    v_queue text;
begin
    foreach v_queue in array queues loop
        continue when not exists (select from jobs_turns t where t.queue = v_queue)
            or exists (select from jobs_queues q where q.queue = v_queue and q.has_groups)
            or not pg_try_advisory_xact_lock(_jobs_advisory_key('groups', v_queue));
        update jobs_queues q set has_groups = true
        where q.queue = (select f.queue from jobs_queues f
                         where f.queue = v_queue and not f.has_groups
                         for no key update skip locked);
        if not exists (select from jobs_queues q where q.queue = v_queue) then
            insert into jobs_queues (queue, has_groups) values (v_queue, true)
            on conflict (queue) do nothing;
        end if;
    end loop;
end
$$;

comment on function _jobs_flag_groups is
    'internal: from now on claims of those of these queues that have turns look for turns';
