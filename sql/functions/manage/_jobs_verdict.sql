-- declared: what code declared last, as _jobs_declared keeps it in the row; null where the row was
-- made by hand. definition: what code declares now. The verdicts:
--
-- - new: there is no row. changed: the code declares it otherwise than code last did.
-- - older: code declared it like this once, and otherwise later. So this code is an older version,
--   or an older one is wanted back: nobody but a person knows.
-- - same. undeclared: this app declared it once, and does so no more.
create or replace function _jobs_verdict(is_there boolean, declared jsonb, definition jsonb)
returns text
language sql immutable
set search_path from current
return case
    when not is_there then 'new'
    when definition is null then 'undeclared'
    when declared -> 'definition' = definition then 'same'
    when declared -> 'former' ? md5(definition::text) then 'older'
    else 'changed' end;

comment on function _jobs_verdict is
    'internal: how what code declares differs from what code declared last';
