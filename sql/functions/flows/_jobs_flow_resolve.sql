-- Counts what has changed among the parents of jobs, and lets go those that have nothing left to wait
-- for. Returns how many it counted: the caller repeats until 0.
--
-- Two sessions cannot both count a change: _jobs_flow_count has the child's lock. A cancelled job
-- may cancel those that wait for it, and so on: that goes on here for a moment, and then by further
-- calls.
create or replace function _jobs_flow_resolve(max_children int) returns bigint
language plpgsql volatile security definer
set search_path from current
as $$
declare
    c_goes_on_for constant interval := '0.2 seconds';
    v_until constant timestamptz := clock_timestamp() + c_goes_on_for;
    v_round record;
    v_counted bigint := 0;
begin
    loop
        select c.counted, c.is_cascading into v_round from _jobs_flow_count(max_children) c;
        v_counted := v_counted + v_round.counted;
        exit when not v_round.is_cascading or v_counted >= max_children
            or clock_timestamp() > v_until;
    end loop;
    return v_counted;
end
$$;

comment on function _jobs_flow_resolve is
    'internal: counts the ended parents of jobs, and lets go or cancels those that wait no more';
