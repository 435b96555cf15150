-- Jobs without a group get the share of one group. Where a share is no whole number, chance
-- decides.
create or replace function _jobs_share_of_groups(
    queue text,
    job_types text[],
    max_jobs int,
    due timestamptz
) returns int
language plpgsql volatile
set search_path from current
as $$
declare
    v_groups int;
begin
    if _jobs_next_level(queue, 10, null) is null then
        return max_jobs;
    end if;
    v_groups := (
        select count(distinct d.group_key)
        from unnest(coalesce(job_types, _jobs_turn_types(queue))) k(job_type)
        cross join lateral (
            select t.group_key from jobs_turns t
            where t.queue = _jobs_share_of_groups.queue and t.job_type = k.job_type
                and t.turn_at >= coalesce((select f.turns_from from jobs_turns_from f
                                           where f.queue = _jobs_share_of_groups.queue
                                               and f.marked_at <= due), '-infinity')
                and t.turn_at <= due
            order by t.turn_at
            limit max_jobs
        ) d);
    return max_jobs - floor(max_jobs::float8 / (v_groups + 1) + random())::int;
end
$$;

comment on function _jobs_share_of_groups is
    'internal: how many of the jobs of a claim are for groups that are due';
