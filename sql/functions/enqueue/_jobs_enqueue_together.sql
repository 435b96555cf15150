-- Adds all jobs of a batch or none, by one insert. If an object has a unique_key, or a key that
-- needs one, all objects go one by one through jobs_enqueue. They go in the order of type and key,
-- so that two such calls never deadlock. A single object goes through jobs_enqueue too, which names
-- the wrong argument. Jobs that name parents or a batch go through _jobs_enqueue_flow. The rows come back in the order of the objects. is_plain: no object has a key
-- that _jobs_unpack then does not look for, nor a unique_key.
create or replace function _jobs_enqueue_together(
    jobs jsonb,
    is_plain boolean default false
) returns setof jobs
language plpgsql volatile security definer
set search_path from current
set jit = off
as $$
#variable_conflict use_column
begin
    if not is_plain and jsonb_path_exists(
        _jobs_enqueue_together.jobs, '$[*] ? (exists(@.depends_on.type() ? (@ != "null"))
            || exists(@.batch_id.type() ? (@ != "null")) || exists(@.ref.type() ? (@ != "null"))
            || exists(@.on_parent_failed.type() ? (@ != "null")))')
    then
        return query select f.* from _jobs_enqueue_flow(_jobs_enqueue_together.jobs) f;
        return;
    end if;
    if jsonb_array_length(_jobs_enqueue_together.jobs) = 1 or not is_plain and jsonb_path_exists(
        _jobs_enqueue_together.jobs, '$[*] ? (exists(@.unique_key.type() ? (@ != "null"))
            || exists(@.on_conflict.type() ? (@ != "null"))
            || exists(@.unique_for.type() ? (@ != "null"))
            || exists(@.max_wait.type() ? (@ != "null")))')
    then
        return query
        select e.*
        from (
            select u.* from _jobs_unpack(_jobs_enqueue_together.jobs, false) u
            order by u.job_type collate "C", u.unique_key collate "C", u.place
        ) i
        cross join lateral jobs_enqueue(
            i.job_type, i.payload, i.queue, i.priority, i.run_at, i.reference_type,
            i.reference_id, i.max_retries, i.unique_key, i.unique_scope, i.backoff,
            i.reference_key, i.group_key, i.headers, i.expires_at, on_conflict => i.on_conflict,
            unique_for => i.unique_for, max_wait => i.max_wait) e
        order by i.place;
    else
        return query
        insert into jobs as j (
            job_type, payload, queue, priority, run_at, reference_type, reference_id, max_retries,
            unique_scope, backoff, reference_key, group_key, headers, expires_at)
        select i.job_type, coalesce(i.payload, '{}'), coalesce(i.queue, 'default'),
            coalesce(i.priority, 0), coalesce(i.run_at, clock_timestamp()), i.reference_type,
            i.reference_id, coalesce(i.max_retries, 3), coalesce(i.unique_scope, 'live'),
            i.backoff, i.reference_key, i.group_key, i.headers, i.expires_at
        from _jobs_unpack(_jobs_enqueue_together.jobs, is_plain) i
        order by i.place
        returning j.*;
    end if;
end
$$;

comment on function _jobs_enqueue_together is
    'internal: adds a batch of jobs and returns their rows, for jobs_enqueue_many and producers';
