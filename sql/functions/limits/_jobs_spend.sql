-- The caller holds the lock of the queue or of the group, so no other session writes the same row.
--
-- Up to 32 moments are exact. Beyond that the starts of one 64th of the period count as the latest
-- of them. So never too many start, and a start is at most a 64th of the period late.
--
-- A handler begins a little after its job was claimed, and not always equally late. So a start
-- counts from 10 ms after its claim, or from a hundredth of the period if that is less.
create or replace function _jobs_spend(
    queue text,
    group_key text,
    starts int,
    period interval
) returns void
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
declare
    c_exact constant int := 32;
    c_parts constant int := 64;
    v_seconds constant float8 := extract(epoch from period);
    v_now constant timestamptz := clock_timestamp();
    v_moment constant timestamptz := v_now + least(interval '10 ms', period / 100);
    v_moments timestamptz[];
    v_counts int[];
    v_last int;
begin
    select array_agg(u.moment order by u.moment), array_agg(u.starts order by u.moment)
    into v_moments, v_counts
    from jobs_starts s
    cross join lateral unnest(s.moments, s.counts) u(moment, starts)
    where s.queue = _jobs_spend.queue and s.group_key = _jobs_spend.group_key
        and u.moment > _jobs_after(v_now, -period);
    v_last := cardinality(v_moments);
    if v_last >= c_exact
        and floor(extract(epoch from v_moments[v_last])::float8 / v_seconds * c_parts)
            = floor(extract(epoch from v_moment)::float8 / v_seconds * c_parts)
    then
        v_moments[v_last] := greatest(v_moments[v_last], v_moment);
        v_counts[v_last] := v_counts[v_last] + _jobs_spend.starts;
    else
        v_moments := v_moments || v_moment;
        v_counts := v_counts || _jobs_spend.starts;
    end if;
    insert into jobs_starts as s (queue, group_key, moments, counts, counts_until)
    values (_jobs_spend.queue, _jobs_spend.group_key, v_moments, v_counts,
            _jobs_after(v_moment, period))
    on conflict (queue, group_key) do update
    set moments = excluded.moments,
        counts = excluded.counts,
        counts_until = excluded.counts_until;
end
$$;

comment on function _jobs_spend is
    'internal: notes that so many jobs of a queue (group_key empty) or a group start now';
