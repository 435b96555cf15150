create or replace function _jobs_room_at(
    queue text,
    group_key text,
    allowed int,
    period interval,
    at timestamptz
) returns timestamptz
language sql volatile
set search_path from current
as $$
select case when _jobs_starts_room(s.moments, s.counts, allowed, period, at) > 0 then at
    else (select _jobs_after(min(u.moment), period) from unnest(s.moments) u(moment)
          where u.moment > _jobs_after(at, -period)) end
from jobs_starts s
where s.queue = _jobs_room_at.queue and s.group_key = _jobs_room_at.group_key
$$;

comment on function _jobs_room_at is
    'internal: when a rate allows the next start, not before that moment; null: nothing has started';
