-- The years are checked apart, because an interval compares as if a month had 30 days: -290,000
-- years and 104,400,001 days compare as one day, but add up to no valid date.
create or replace function _jobs_valid_delays(delays interval[]) returns boolean
language sql immutable
set search_path from current
return not exists (
    select from unnest(delays) d
    where d < '0' or d > '100 years' or extract(year from d) not between 0 and 100);

comment on function _jobs_valid_delays is
    'internal: whether all delays that are not null are from 0 to 100 years';
