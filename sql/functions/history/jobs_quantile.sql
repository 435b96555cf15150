-- As histogram_quantile of Prometheus: within a bucket the durations count as evenly spread. Of those
-- longer than the last bound only that bound is known. A loop takes a fifth of the time of a query.
create or replace function jobs_quantile(counts bigint[], fraction float8 default 0.5)
returns float8
language plpgsql immutable parallel safe
set search_path from current
as $$
declare
    v_jobs bigint;
    v_all float8 := 0;
    v_below float8 := 0;
    v_rank float8;
    v_place int := 0;
    v_lower_s float8;
begin
    if counts is null or fraction between 0 and 1 is not true then
        return null;
    end if;
    foreach v_jobs in array counts loop
        v_all := v_all + coalesce(v_jobs, 0);
    end loop;
    v_rank := fraction * v_all;
    foreach v_jobs in array counts loop
        v_place := v_place + 1;
        continue when v_jobs <= 0 or v_jobs is null;
        if v_below + v_jobs >= v_rank then
            v_lower_s := case when v_place > 1 then 0.001 * 2 ^ (v_place - 1) else 0 end;
            return case when v_place = cardinality(counts) then v_lower_s
                else v_lower_s + (0.001 * 2 ^ v_place - v_lower_s) * (v_rank - v_below) / v_jobs end;
        end if;
        v_below := v_below + v_jobs;
    end loop;
    return null;
end
$$;

comment on function jobs_quantile is
    'seconds below which this fraction of the durations lies; counts: waits or runs of jobs_history';
