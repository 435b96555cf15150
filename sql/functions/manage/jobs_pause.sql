-- To pause a paused queue again sets the end and the reason anew, and keeps since when it is
-- paused. A pause whose end has come counts as none.
create or replace function jobs_pause(
    queue text,
    until timestamptz default null,
    reason text default null
) returns setof jobs_queues
language plpgsql volatile security definer
set search_path from current
as $$
#variable_conflict use_column
declare
    v_now timestamptz := clock_timestamp();
begin
    perform _jobs_check_queue(jobs_pause.queue);
    if not (jobs_pause.until > v_now and jobs_pause.until < '9999-12-31 00:00:00+00') then
        raise exception using errcode = 'JQ003',
            message = format('until must be later than now, and before the year 9999, not %s',
                             jobs_pause.until);
    end if;
    if octet_length(jobs_pause.reason) > 1000 then
        raise exception using errcode = 'JQ003', message = 'reason must have at most 1000 bytes';
    end if;
    return query
    insert into jobs_queues as q (queue, paused_at, paused_until, pause_reason)
    values (jobs_pause.queue, v_now, jobs_pause.until, nullif(jobs_pause.reason, ''))
    on conflict (queue) do update
    set paused_at = case when q.paused_until <= v_now then excluded.paused_at
            else coalesce(q.paused_at, excluded.paused_at) end,
        paused_until = excluded.paused_until,
        pause_reason = excluded.pause_reason
    returning q.*;
    if jobs_pause.until is not null then
        -- Each worker of the queue ticks, and learns when the pause ends.
        perform _jobs_signal(jobs_pause.queue, '-infinity', jobs => 16);
    end if;
    perform _jobs_audit_note('pause', reason => jobs_pause.reason, filters => jsonb_build_object(
        'queue', jobs_pause.queue, 'until', jobs_pause.until));
end
$$;

comment on function jobs_pause is
    'pauses a queue: claims skip it until that moment, or until jobs_resume; running jobs finish';
