-- For functions that a person or a program calls: who adds up holds off all others until the end of the
-- transaction, and that may be open for long. So where a worker lives, its ticks add up.
create or replace function _jobs_history_add_alone() returns void
language plpgsql volatile
set search_path from current
as $$
begin
    if not exists (
        select from jobs_worker_ticks t
        where t.seen_at > clock_timestamp() - interval '30 seconds')
    then
        perform _jobs_history_add();
    end if;
end
$$;

comment on function _jobs_history_add_alone is
    'internal: adds up how attempts ended, where no worker does';
