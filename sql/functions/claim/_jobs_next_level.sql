-- A probe for a level that has a floor would walk over the index entries of the jobs claimed there.
-- So this probes only the levels above the highest floor below `below`.
create or replace function _jobs_next_level(
    queue text,
    below int,
    floors jsonb
) returns int
language plpgsql stable
set search_path from current
as $$
declare
    v_highest_floor int;
begin
    if floors is not null then
        v_highest_floor := (
            select max(f.priority::int) from jsonb_object_keys(floors -> queue) f(priority)
            where f.priority::int < below);
    end if;
    return coalesce(
        (select j.priority from jobs j
         where j.status = 'pending' and j.group_key is null and j.queue = _jobs_next_level.queue
             and j.priority < below and j.priority > coalesce(v_highest_floor, -10)
         order by j.priority desc limit 1),
        v_highest_floor);
end
$$;

comment on function _jobs_next_level is
    'internal: the next priority below this one that may have pending jobs; null: none';
