-- Two sessions cannot both win: the second waits for the row's lock, then finds the batch closed,
-- which is no error.
create or replace function jobs_batch_close(batch_id bigint) returns setof jobs
language plpgsql volatile security definer rows 1
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_is_open boolean;
    v_job jobs;
begin
    if jobs_batch_close.batch_id is null then
        raise exception using errcode = 'JQ003', message = 'batch_id is missing';
    end if;
    select f.is_open into v_is_open
    from jobs_flows f
    where f.job_id = jobs_batch_close.batch_id and f.is_batch;
    if not found then
        raise exception using errcode = 'JQ001',
            message = format('there is no batch %s', jobs_batch_close.batch_id),
            hint = 'A batch is made by jobs_batch; its id is that of its callback.';
    end if;
    -- No lock on the row of a batch that is closed already: others may be about to delete it.
    if v_is_open then
        update jobs_flows f
        set is_open = false
        where f.job_id = jobs_batch_close.batch_id and f.is_open;
        -- Without any change since, nobody would look at the batch. An empty batch has none.
        insert into jobs_flow_changes (child_id) values (jobs_batch_close.batch_id);
        perform _jobs_flow_tell();
    end if;
    select j.* into v_job from jobs j where j.id = jobs_batch_close.batch_id;
    -- A producer that may not read jobs could otherwise read callbacks by guessing ids.
    if not _jobs_may_read() then
        v_job.payload := null;
        v_job.result := null;
        v_job.error := null;
        v_job.headers := null;
        v_job.progress := null;
        v_job.unique_key := null;
    end if;
    return next v_job;
end
$$;

comment on function jobs_batch_close is
    'no more members from outside: the callback runs when all members have ended';
