create or replace function _jobs_check_floors(floors jsonb) returns void
language plpgsql stable
set search_path from current
as $$
begin
    if not exists (
        select from jsonb_each(floors) q
        cross join lateral jsonb_each_text(q.value) f
        where f.key::int not between -9 and 9 or not isfinite(f.value::timestamptz)
    ) then
        return;
    end if;
    raise data_exception;
exception
    when data_exception then
        raise exception using errcode = 'JQ003',
            message = 'floors must be like {"queue": {"priority": "run_at"}}';
end
$$;

comment on function _jobs_check_floors is 'internal: raises if floors are invalid';
