-- One front for queues that are spread over two databases, by PL/Proxy. In an empty database:
--
--     psql -d front -v p0='dbname=jobs0' -v p1='dbname=jobs1' -f front.sql
--
-- Before, in each of the two: install pgjobs, then let it give ids of its own class, so that an id
-- tells its database. jobs0 gives even ids, jobs1 odd ones:
--
--     alter table jobs alter id set increment by 2 restart with 2;      -- in jobs1: restart with 1
--
-- Producers and operators use the front, by the names that they know. Workers connect to the database
-- whose jobs they run: a NOTIFY is not passed on, and a claim that goes through a front gains nothing.
\set ON_ERROR_STOP on

create extension if not exists plproxy;

create server jobs foreign data wrapper plproxy options (p0 :'p0', p1 :'p1');
create user mapping for current_user server jobs;

-- What the front shows of a job; PL/Proxy matches columns by their names.
create type job as (
    id bigint,
    job_type text,
    queue text,
    status text,
    priority smallint,
    payload jsonb,
    result jsonb,
    error text,
    retry_count int,
    attempt int,
    run_at timestamptz,
    unique_key text,
    worker text
);

-- Same arguments, same order: PL/Proxy then calls the function of the same name. The same key goes to
-- the same database, so it is unique as before; without one, anywhere.
create function jobs_enqueue(
    job_type text,
    payload jsonb default '{}',
    queue text default 'default',
    priority int default 0,
    run_at timestamptz default null,
    reference_type text default null,
    reference_id bigint default null,
    max_retries int default 3,
    unique_key text default null,
    unique_scope text default 'live',
    backoff interval[] default null
) returns setof job
language plproxy
as $$
    cluster 'jobs';
    run on hashtext(coalesce(job_type || ' ' || unique_key, random()::text));
$$;

create function jobs_cancel(job_id bigint, reason text default null) returns setof job
language plproxy
as $$
    cluster 'jobs';
    run on int4(job_id & 1);
$$;

create function jobs_retry(job_id bigint) returns setof job
language plproxy
as $$
    cluster 'jobs';
    run on int4(job_id & 1);
$$;

create function jobs_cleanup(older_than interval default '7 days') returns setof bigint
language plproxy
as $$
    cluster 'jobs';
    run on all;
$$;

create function jobs_counts() returns table (queue text, job_type text, status text, jobs bigint)
language plproxy
as $$
    cluster 'jobs';
    run on all;
    select j.queue, j.job_type, j.status, count(*) as jobs from jobs j group by 1, 2, 3;
$$;

create view jobs_stats as
    select c.queue, c.job_type, c.status, sum(c.jobs) as jobs
    from jobs_counts() c
    group by 1, 2, 3
    order by 1, 2, 3;
