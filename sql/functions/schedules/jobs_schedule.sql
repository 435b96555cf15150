-- Two sessions cannot both make a schedule: the name is the key, and the second one changes the row
-- of the first.
--
-- next_at stays where its reasons stay: else a schedule of every six hours that each deploy
-- declares again would never fire. A tick that is due is still made up for.
create or replace function jobs_schedule(
    name text,
    job_type text,
    cron text default null,
    every interval default null,
    timezone text default 'UTC',
    payload jsonb default '{}',
    queue text default 'default',
    priority int default 0,
    max_retries int default 3,
    backoff interval[] default null,
    group_key text default null,
    missed text default 'latest',
    missed_within interval default null,
    overlap text default 'skip',
    starts_at timestamptz default null,
    ends_at timestamptz default null
) returns setof jobs_schedules
language plpgsql volatile security definer rows 1
set search_path from current
as $$
#variable_conflict use_column
declare
    v_new jobs_schedules;
begin
    perform _jobs_check_job(
        jobs_schedule.job_type, jobs_schedule.queue, jobs_schedule.priority,
        null, null, jobs_schedule.max_retries, null, null,
        jobs_schedule.backoff, null, jobs_schedule.group_key, null, null);
    perform _jobs_check_schedule(
        jobs_schedule.name, jobs_schedule.cron, jobs_schedule.every, jobs_schedule.timezone,
        jobs_schedule.missed, jobs_schedule.missed_within, jobs_schedule.overlap,
        jobs_schedule.starts_at, jobs_schedule.ends_at);
    v_new.name := jobs_schedule.name;
    v_new.job_type := jobs_schedule.job_type;
    v_new.cron := jobs_schedule.cron;
    v_new.every := jobs_schedule.every;
    v_new.timezone := coalesce(jobs_schedule.timezone, 'UTC');
    v_new.payload := coalesce(jobs_schedule.payload, '{}');
    v_new.queue := coalesce(jobs_schedule.queue, 'default');
    v_new.priority := coalesce(jobs_schedule.priority, 0);
    v_new.max_retries := coalesce(jobs_schedule.max_retries, 3);
    v_new.backoff := jobs_schedule.backoff;
    v_new.group_key := jobs_schedule.group_key;
    v_new.missed := coalesce(jobs_schedule.missed, 'latest');
    v_new.missed_within := jobs_schedule.missed_within;
    v_new.overlap := coalesce(jobs_schedule.overlap, 'skip');
    v_new.starts_at := jobs_schedule.starts_at;
    v_new.ends_at := jobs_schedule.ends_at;
    v_new.recent_job_ids := '{}';
    v_new.created_at := clock_timestamp();
    v_new.updated_at := v_new.created_at;
    v_new.next_at := _jobs_schedule_next(v_new, v_new.created_at);
    return query
    insert into jobs_schedules as s select v_new.*
    on conflict (name) do update
    set job_type = excluded.job_type,
        cron = excluded.cron,
        every = excluded.every,
        timezone = excluded.timezone,
        payload = excluded.payload,
        queue = excluded.queue,
        priority = excluded.priority,
        max_retries = excluded.max_retries,
        backoff = excluded.backoff,
        group_key = excluded.group_key,
        missed = excluded.missed,
        missed_within = excluded.missed_within,
        overlap = excluded.overlap,
        starts_at = excluded.starts_at,
        ends_at = excluded.ends_at,
        updated_at = excluded.updated_at,
        error = null,
        next_at = case
            when (s.cron, s.every, s.timezone, s.starts_at, s.ends_at)
                is distinct from (excluded.cron, excluded.every, excluded.timezone,
                                  excluded.starts_at, excluded.ends_at)
            then excluded.next_at
            else s.next_at end
    returning s.*;
    perform _jobs_schedule_signal(jobs_schedule.name);
    perform _jobs_audit_note('schedule', filters => jsonb_build_object(
        'name', v_new.name, 'job_type', v_new.job_type, 'cron', v_new.cron,
        'every', v_new.every, 'timezone', v_new.timezone, 'queue', v_new.queue));
end
$$;

comment on function jobs_schedule is
    'makes a schedule, or changes the one of that name: what is left out gets its default';
