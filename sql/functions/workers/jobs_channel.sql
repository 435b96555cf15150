-- A channel's name has at most 63 bytes, a schema's here 58: the longer channel of a long schema
-- name gets a digest in the schema's place. Not `language sql`, which is set up anew in each query:
-- every enqueue that notifies calls this twice.
create or replace function jobs_channel(topic text) returns text
language plpgsql stable
set search_path from current
as $$
begin
    return case
        when octet_length(current_schema()) + octet_length(topic) < 63
            then current_schema() || '.' || topic
        else md5(current_schema()) || '.' || topic
    end;
end
$$;

comment on function jobs_channel is
    'the NOTIFY channel of a topic, jobs or jobs_cancel, in this schema';
