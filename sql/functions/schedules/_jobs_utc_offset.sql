-- PostgreSQL inlines this function, so it has no settings of its own. Its body names nothing that a
-- search_path could change.
create or replace function _jobs_utc_offset(moment timestamptz, timezone text) returns interval
language sql stable
return (moment at time zone timezone) - (moment at time zone 'UTC');

comment on function _jobs_utc_offset is
    'internal: how far the clocks of a time zone are ahead of UTC at a moment';
