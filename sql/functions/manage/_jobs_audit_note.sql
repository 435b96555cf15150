-- Notes in the caller's transaction who has called a managing function: a call that is rolled back
-- leaves no row. jobs: how many jobs the call has changed; null: it was not about jobs. A call that
-- changed none leaves no row either, so that calls until 0 leave one row for each batch.
--
-- The managing functions act as their owner, so current_user would name the owner. Two names are
-- kept, because each can be the person: db_role is who has logged in, which nobody but a superuser
-- can change, and set_role is who `set role` chose, as a pooler does that logs in for everybody.
-- actor is what the program says.
--
-- Of a long list the first elements are kept, and how many there were (job_ids_in_all).
create or replace function _jobs_audit_note(
    action text,
    job_id bigint default null,
    filters jsonb default null,
    jobs bigint default null,
    reason text default null
) returns void
language plpgsql volatile
set search_path from current
as $$
declare
    c_max_elements constant int := 20;
    c_max_text_characters constant int := 512;
    c_max_actor_characters constant int := 200;
    c_max_reason_characters constant int := 1000;
    v_told jsonb;
begin
    if jobs = 0 then
        return;
    end if;
    select jsonb_object_agg(t.name, t.value) into v_told
    from jsonb_each(jsonb_strip_nulls(filters)) f(name, value)
    cross join lateral (
        select f.name, case jsonb_typeof(f.value)
            when 'array' then (
                select jsonb_agg(case jsonb_typeof(e.value)
                    when 'number' then e.value
                    else to_jsonb(left(e.value #>> '{}', c_max_text_characters)) end
                    order by e.place)
                from jsonb_array_elements(f.value) with ordinality e(value, place)
                where e.place <= c_max_elements)
            when 'string' then to_jsonb(left(f.value #>> '{}', c_max_text_characters))
            else f.value end as value
        union all
        select f.name || '_in_all', to_jsonb(jsonb_array_length(f.value))
        where case jsonb_typeof(f.value) when 'array'
            then jsonb_array_length(f.value) > c_max_elements end
    ) t;
    insert into jobs_audit (job_id, jobs, db_role, set_role, actor, action, filters, reason)
    values (
        _jobs_audit_note.job_id, _jobs_audit_note.jobs, session_user,
        nullif(nullif(current_setting('role'), 'none'), session_user),
        nullif(regexp_replace(left(current_setting('pgjobs.actor', true), c_max_actor_characters),
                              '[[:cntrl:]]', ' ', 'g'), ''),
        _jobs_audit_note.action, v_told,
        nullif(left(_jobs_audit_note.reason, c_max_reason_characters), ''));
end
$$;

comment on function _jobs_audit_note is
    'internal: notes in jobs_audit who has called a managing function, and for what';
