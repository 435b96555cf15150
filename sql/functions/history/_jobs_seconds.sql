-- Rows may have infinite moments, if somebody has switched the constraints off; before PostgreSQL 17 an
-- infinite moment cannot be subtracted.
--
-- Without settings, so that PostgreSQL inlines it.
create or replace function _jobs_seconds(since timestamptz, until timestamptz) returns float8
language sql stable parallel safe
return case when since is not null and until is not null then
    least(greatest(date_part('epoch', until) - date_part('epoch', since), 0), 1e9) end;

comment on function _jobs_seconds is
    'internal: the seconds between two moments, as they count in jobs_history';
