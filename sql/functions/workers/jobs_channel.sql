-- A channel's name has at most 63 bytes, a schema's name at most 58, which leaves room for `.jobs`
-- only. A longer topic of a long schema name gets a digest in place of the schema's name, and a
-- colon, because a schema may be named like a digest. It is PL/pgSQL, because each enqueue that
-- notifies calls it twice, and PostgreSQL sets up an SQL function anew in each query.
create or replace function jobs_channel(topic text) returns text
language plpgsql stable
set search_path from current
as $$
begin
    return case
        when octet_length(current_schema()) + octet_length(topic) < 63
            then current_schema() || '.' || topic
        else md5(current_schema()) || ':' || topic
    end;
end
$$;

comment on function jobs_channel is
    'the NOTIFY channel of a topic in this schema: jobs, jobs_cancel, jobs_done, or the internal'
    ' jobs_signal';
