create or replace function _jobs_flow_pending() returns boolean
language plpgsql stable security definer
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    return exists (select from jobs_flow_changes c)
        or exists (select from jobs_flow_edges e where not e.is_attached);
end
$$;

comment on function _jobs_flow_pending is
    'internal: whether ends of parents have still to be counted';
