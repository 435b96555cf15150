-- Under repeatable read the snapshot is older than the lock: a claim would count what ran before.
create or replace function _jobs_check_isolation() returns void
language plpgsql volatile
set search_path from current
as $$
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception using errcode = 'JQ003',
            message = format('a queue with limits or groups is claimed from in read committed, not '
                             'in %s', current_setting('transaction_isolation')),
            hint = 'Begin the transaction with: begin isolation level read committed';
    end if;
end
$$;

comment on function _jobs_check_isolation is
    'internal: raises where a claim could not count what runs';
