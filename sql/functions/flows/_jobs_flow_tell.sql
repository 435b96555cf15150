-- After a change among the parents of some jobs: tells a living worker, on commit, that there is
-- something to count. The other workers hear it too, and look a second later in case the picked one
-- hangs. Where no worker of pgjobs lives, whoever has ended a job counts in this transaction: a worker
-- in another language needs to know nothing of flows. What it cannot count within a second is counted
-- by the next end, by jobs_recover, or by a worker's tick.
create or replace function _jobs_flow_tell(is_end boolean default true) returns void
language plpgsql volatile
set search_path from current
as $$
declare
    c_max_jobs constant int := 1000;
    c_counts_for constant interval := '1 second';
    v_until constant timestamptz := clock_timestamp() + c_counts_for;
    v_key bigint;
begin
    select w.listening_key into v_key
    from (select w.* from jobs_workers w order by w.worker) w
    where _jobs_is_locked(w.name_key)
    limit 1;
    if not found then
        -- Who enqueues would hold the locks of the count until its commit.
        if not is_end then
            return;
        end if;
        -- Counting may end further jobs, whose ends come here again: not one within the other.
        if current_setting('pgjobs.counts_flows', true) is distinct from 'on' then
            perform set_config('pgjobs.counts_flows', 'on', true), _jobs_flow_attach(c_max_jobs);
            while _jobs_flow_resolve(c_max_jobs) > 0 and clock_timestamp() < v_until loop
                null;
            end loop;
            perform set_config('pgjobs.counts_flows', 'off', true);
        end if;
    elsif pg_notification_queue_usage() < 0.5 then
        perform pg_notify(jobs_channel('jobs_flow'), v_key::text);
    end if;
end
$$;

comment on function _jobs_flow_tell is
    'internal: has a worker count what has changed among the parents of jobs';
