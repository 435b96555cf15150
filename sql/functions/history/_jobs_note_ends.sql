-- The worker has added up its ends since its last tick: see _jobs_ends for what it sends.
create or replace function _jobs_note_ends(ends json) returns void
language plpgsql volatile security definer
set search_path from current
as $$
begin
    if ends is null then
        raise exception using errcode = 'JQ003', message = 'ends is missing';
    end if;
    insert into jobs_ends (ends) values (_jobs_note_ends.ends);
end
$$;

comment on function _jobs_note_ends is
    'internal: notes for jobs_history how the attempts of a worker have ended since its last tick';
