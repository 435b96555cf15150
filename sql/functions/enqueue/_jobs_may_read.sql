-- Within a `security definer` function current_user is its owner. Who called it is the role that
-- `set role` chose, which only its members can, or else the one that logged in.
create or replace function _jobs_may_read() returns boolean
language sql stable
set search_path from current
return has_table_privilege(
    coalesce(nullif(current_setting('role'), 'none')::name, session_user), 'jobs', 'select');

comment on function _jobs_may_read is
    'internal: whether whoever called a jobs_... function may read the table jobs';
