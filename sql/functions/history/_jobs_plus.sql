create or replace function _jobs_plus(counts bigint[], more bigint[]) returns bigint[]
language sql immutable parallel safe
set search_path from current
return array(select u.a + u.b from unnest(counts, more) with ordinality u(a, b, place)
             order by u.place);

comment on function _jobs_plus is
    'internal: adds two histograms';
