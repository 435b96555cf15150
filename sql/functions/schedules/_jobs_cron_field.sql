-- The numbers of one field. names: what may be written for the first numbers.
create or replace function _jobs_cron_field(
    field text,
    called text,
    lowest int,
    highest int,
    names text[] default '{}'
) returns int[]
language plpgsql immutable
set search_path from current
as $$
declare
    v_item text;
    v_parts text[];
    v_from int;
    v_to int;
    v_step int;
    v_numbers int[] := '{}';
    v_problem text;
begin
    foreach v_item in array string_to_array(lower(field), ',') loop
        -- From, to and step, as in 1-5/2. Each number has few digits, so that it fits.
        v_parts := regexp_match(v_item,
            '^(?:\*|([a-z]+|[0-9]{1,3})(?:-([a-z]+|[0-9]{1,3}))?)(?:/([0-9]{1,3}))?$');
        v_from := lowest;
        v_to := highest;
        v_step := coalesce(v_parts[3]::int, 1);
        if v_parts[1] is not null then
            v_from := coalesce(lowest - 1 + array_position(names, v_parts[1]),
                               case when v_parts[1] ~ '^[0-9]' then v_parts[1]::int end);
            v_to := case
                when v_parts[2] is not null
                    then coalesce(lowest - 1 + array_position(names, v_parts[2]),
                                  case when v_parts[2] ~ '^[0-9]' then v_parts[2]::int end)
                when v_parts[3] is null then v_from
                else highest end;
        end if;
        v_problem := case
            when v_parts is null or v_from is null or v_to is null
                then 'must be like *, 5, 1-5, */2, 1-9/2'
                    || case when names = '{}' then '' else ' or ' || names[2] end
                    || ', or several with commas between'
            when v_from not between lowest and highest or v_to not between lowest and highest
                then format('must be from %s to %s', lowest, highest)
            when v_from > v_to then 'must not run backwards: write two ranges'
            when v_step = 0 then 'must not have the step 0'
        end;
        if v_problem is not null then
            raise exception using errcode = 'JQ003',
                message = format('cron: the %s %s, not %s', called, v_problem, left(v_item, 40));
        end if;
        v_numbers := v_numbers || array(select generate_series(v_from, v_to, v_step));
    end loop;
    return array(select distinct unnest(v_numbers) as number order by number);
end
$$;

comment on function _jobs_cron_field is
    'internal: the numbers that one field of a cron expression stands for';
