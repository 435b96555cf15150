-- Within a `security definer` function current_user is the function's owner. The caller is the role
-- of `set role`, which only members of that role can set, or else the role that logged in.
create or replace function _jobs_may_read() returns boolean
language sql stable
set search_path from current
return has_table_privilege(
    coalesce(nullif(current_setting('role'), 'none')::name, session_user), 'jobs', 'select');

comment on function _jobs_may_read is
    'internal: whether the caller of a jobs_... function may read the table jobs';
