-- Two sessions cannot both take over a key: each adds its job afterwards, and the unique index lets
-- one of them pass.
--
-- A job gives up its key when its period is over. Where a new job replaces what waits, a job that
-- waits for a retry ends: its attempts and its error are those of its old payload.
create or replace function _jobs_give_way(holder jobs, is_replaced boolean) returns boolean
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    if holder.unique_scope = 'period' and holder.unique_until <= clock_timestamp() then
        update jobs j set unique_key = null
        where j.id = holder.id and j.unique_until = holder.unique_until;
        return true;
    end if;
    if is_replaced and holder.status = 'pending' and holder.attempt > 0 then
        update jobs j
        set status = 'cancelled',
            error = 'replaced by a newer job with its unique_key',
            unique_key = case when j.unique_scope in ('kept', 'period') then null
                else j.unique_key end,
            updated_at = clock_timestamp(),
            finished_at = clock_timestamp()
        where j.id = holder.id and j.status = 'pending';
        -- It may have held back its group.
        perform _jobs_signal_jobs(array[holder.id]), _jobs_count_ends(array[holder.id]);
        return true;
    end if;
    return false;
end
$$;

comment on function _jobs_give_way is
    'internal: frees the key of a job that must not hold it any more; whether to try again';
