-- A worker calls this when its tick says that a rule is due, and soon again while `more` says so.
--
-- Two workers cannot both delete: the second one does not get the lock, which ends with the
-- transaction. What is deleted and how far the rule has come commit together, so a worker that is
-- killed leaves both as they were. A rule that jobs_retain changes at this moment is passed over.
create or replace function _jobs_retention_enforce(max_jobs int default 1000)
returns table (deleted bigint, more boolean)
language plpgsql volatile security definer
set search_path from current
as $$
declare
    c_within constant interval := '20 ms';
    v_give_up_at timestamptz := clock_timestamp() + c_within;
    v_rule jobs_retention;
begin
    deleted := 0;
    more := false;
    if pg_try_advisory_xact_lock(_jobs_advisory_key('retention', '')) then
        for v_rule in
            select r.* from jobs_retention r
            where r.next_at <= clock_timestamp()
            order by r.next_at
            for update skip locked
        loop
            deleted := deleted + _jobs_retention_sweep(v_rule, max_jobs - deleted, v_give_up_at);
            exit when deleted >= max_jobs or clock_timestamp() > v_give_up_at;
        end loop;
        more := exists (select from jobs_retention r where r.next_at <= clock_timestamp());
    end if;
    return next;
end
$$;

comment on function _jobs_retention_enforce is
    'internal: deletes what no rule keeps, up to max_jobs; more: call it again soon';
