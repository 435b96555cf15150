-- Two sessions cannot both win: the second waits for the row's lock, then finds the batch closed,
-- which is no error.
create or replace function jobs_batch_close(batch_id bigint) returns setof jobs
language plpgsql volatile security definer rows 1
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    if jobs_batch_close.batch_id is null then
        raise exception using errcode = 'JQ003', message = 'batch_id is missing';
    end if;
    update jobs_flows f
    set is_open = false
    where f.job_id = jobs_batch_close.batch_id and f.is_batch;
    if not found then
        raise exception using errcode = 'JQ001',
            message = format('there is no batch %s', jobs_batch_close.batch_id),
            hint = 'A batch is made by jobs_batch; its id is that of its callback.';
    end if;
    -- Without any change since, nobody would look at the batch. An empty batch has none.
    insert into jobs_flow_changes (child_id) values (jobs_batch_close.batch_id);
    perform _jobs_flow_tell();
    return query select j.* from jobs j where j.id = jobs_batch_close.batch_id;
end
$$;

comment on function jobs_batch_close is
    'no more members from outside: the callback runs when all members have ended';
