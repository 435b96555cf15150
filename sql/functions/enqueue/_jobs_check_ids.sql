create or replace function _jobs_check_ids() returns void
language plpgsql stable
set search_path from current
as $$
declare
    v_mend text := _jobs_ids_behind();
begin
    if v_mend is not null then
        raise exception using errcode = 'JQ005',
            message = 'the sequence of jobs.id is behind the ids of the table, so the next ids are '
                'taken, and nothing was added; as the owner of the table: ' || v_mend,
            hint = 'Rows came in with their ids, by COPY or logical replication for example.';
    end if;
end
$$;

comment on function _jobs_check_ids is
    'internal: raises if the sequence of jobs.id gives ids that other rows have';
