create or replace function _jobs_check_queue(queue text) returns void
language plpgsql immutable
set search_path from current
as $$
begin
    if coalesce(octet_length(queue), 0) not between 1 and 512 then
        raise exception using errcode = 'JQ003', message = 'queue must have 1 to 512 bytes';
    end if;
end
$$;

comment on function _jobs_check_queue is 'internal: raises if a queue''s name is invalid';
