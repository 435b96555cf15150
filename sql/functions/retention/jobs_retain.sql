-- Two sessions cannot both make a rule: status and type are the key, and the second one changes the
-- row of the first. Both lock the rules of a status in the same order.
--
-- Each rule of the status begins anew: a type that gains or loses a rule of its own leaves or comes
-- under the general one.
create or replace function jobs_retain(
    status text,
    keep_for interval,
    job_type text default null
) returns void
language plpgsql volatile security definer
set search_path from current
as $$
begin
    if coalesce(status not in ('completed', 'failed', 'cancelled'), true) then
        raise exception using errcode = 'JQ003',
            message = format('status must be completed, failed or cancelled, not %s',
                             coalesce(left(status, 100), 'null'));
    end if;
    if not (keep_for >= '0' and keep_for <= '1000 years'
            and extract(year from keep_for) between 0 and 1000) then
        raise exception using errcode = 'JQ003',
            message = format('keep_for must be from 0 to 1000 years, not %s', keep_for);
    end if;
    if octet_length(job_type) not between 1 and 512 then
        raise exception using errcode = 'JQ003', message = 'job_type must have 1 to 512 bytes';
    end if;
    perform from jobs_retention r
    where r.status = jobs_retain.status
    order by r.job_type
    for update;
    if keep_for is null then
        delete from jobs_retention r
        where r.status = jobs_retain.status
            and r.job_type is not distinct from jobs_retain.job_type;
    else
        insert into jobs_retention as r (status, job_type, keep_for)
        values (jobs_retain.status, jobs_retain.job_type, jobs_retain.keep_for)
        on conflict on constraint jobs_retention_status_and_job_type_are_the_key do update
        set keep_for = excluded.keep_for, updated_at = excluded.updated_at;
    end if;
    update jobs_retention r
    set next_at = clock_timestamp(), healed_at = null, round_to = null, error = null
    where r.status = jobs_retain.status;
    perform _jobs_audit_note('retain', filters => jsonb_build_object(
        'status', status, 'job_type', job_type, 'keep_for', keep_for));
end
$$;

comment on function jobs_retain is
    'workers delete jobs of this status that ended longer ago than keep_for; null: they do not';
