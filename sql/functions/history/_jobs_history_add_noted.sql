-- The caller has the lock of _jobs_history_add, so no other session adds.
create or replace function _jobs_history_add_noted(noted jobs_ends[]) returns void
language plpgsql volatile
set search_path from current
set jit = off
as $$
declare
    v_ended jobs_history[];
begin
    v_ended := array(select s from _jobs_summed(array(select e from _jobs_ends(noted) e)) s);
    perform _jobs_history_add_spans(v_ended);
    perform _jobs_history_add_totals(v_ended);
    perform _jobs_history_add_durations(v_ended);
end
$$;

comment on function _jobs_history_add_noted is
    'internal: adds these rows of jobs_ends to jobs_history, jobs_totals and jobs_durations';
