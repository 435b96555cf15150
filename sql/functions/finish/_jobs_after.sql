-- A timestamptz plus an interval counts days and months by the calendar of the session's time
-- zone: across a change of the clocks one day is 23 or 25 hours. Drivers write 24 hours as one day.
-- So the sum is made in UTC, where a day has 24 hours; a month is one of the calendar. PostgreSQL
-- inlines this function, so it has no settings of its own.
create or replace function _jobs_after(moment timestamptz, delay interval) returns timestamptz
language sql immutable
return (moment at time zone 'UTC' + delay) at time zone 'UTC';

comment on function _jobs_after is
    'internal: a moment this much later, whatever the session''s time zone; a day has 24 hours';
