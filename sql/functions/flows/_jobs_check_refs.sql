-- A ref is a name within one call. depends_on refers to objects before, so there are no circles.
create or replace function _jobs_check_refs(jobs jsonb) returns void
language plpgsql immutable
set search_path from current
as $$
declare
    v_problem text;
begin
    with unpacked as materialized (
        select u.* from _jobs_unpack_flow(jobs) u
    ), named as (
        select u.ref, min(u.place) as place, max(u.place) as last_place
        from unpacked u
        where u.ref is not null
        group by u.ref
    )
    select format('jobs[%s]: %s', p.place - 1, p.problem) into v_problem
    from (
        select u.place, 'ref must have 1 to 512 bytes' as problem from unpacked u
        where octet_length(u.ref) not between 1 and 512
        union all
        select n.last_place, format('an object before has the ref %s', left(n.ref, 100))
        from named n
        where n.place < n.last_place
        union all
        select u.place, format('depends_on names the ref %s, and no object before has that ref',
                               left(r.ref, 100))
        from unpacked u
        cross join lateral unnest(u.refs) r(ref)
        left join named n on n.ref = r.ref and n.place < u.place
        where n.ref is null
    ) p
    order by p.place
    limit 1;
    if v_problem is not null then
        raise exception using errcode = 'JQ003', message = v_problem;
    end if;
end
$$;

comment on function _jobs_check_refs is
    'internal: raises if the refs of a batch of jobs are not right';
