-- Behind is the sequence of jobs.id after rows came in with their ids: by a COPY or by logical
-- replication, which leaves sequences as they are.
create or replace function _jobs_ids_behind() returns text
language plpgsql stable security definer
set search_path from current
as $$
declare
    v_sequence text := pg_get_serial_sequence('jobs', 'id');
    v_next_id bigint;
begin
    if v_sequence is null then
        return null;
    end if;
    execute format('select s.last_value + s.is_called::int from %s s', v_sequence) into v_next_id;
    if v_next_id > coalesce((select max(j.id) from jobs j), 0) then
        return null;
    end if;
    return format('select setval(%L, (select max(id) from %I.jobs))', v_sequence, current_schema());
end
$$;

comment on function _jobs_ids_behind is
    'internal: the statement that mends the sequence of jobs.id if it is behind; null: it is not';
