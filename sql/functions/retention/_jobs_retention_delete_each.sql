-- One job that cannot be deleted (another table refers to it, a trigger raises) keeps no other.
-- The error holds no text of the trigger, because observers may read it.
create or replace function _jobs_retention_delete_each(job_ids bigint[])
returns table (deleted bigint, error text)
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_id bigint;
    v_constraint text;
    v_table text;
begin
    deleted := 0;
    foreach v_id in array job_ids loop
        begin
            delete from jobs j where j.id = v_id;
            perform _jobs_forget(array[v_id]);
            deleted := deleted + 1;
        exception
            when transaction_rollback or insufficient_resources or operator_intervention
                or system_error
            then
                raise;
            when others then
                get stacked diagnostics v_constraint = constraint_name, v_table = table_name;
                error := format('job %s: SQLSTATE %s', v_id, sqlstate)
                    || coalesce(', constraint ' || nullif(v_constraint, '')
                                    || ' of table ' || v_table, '');
        end;
    end loop;
    return next;
end
$$;

comment on function _jobs_retention_delete_each is
    'internal: deletes locked jobs one by one; error: why the last one could not be deleted';
