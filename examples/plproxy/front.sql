-- One front for queues that are spread over two databases, by PL/Proxy. In an empty database:
--
--     psql -d front -v p0='dbname=jobs0' -v p1='dbname=jobs1' -f front.sql
--
-- First, in each of the two databases: install pgjobs, then make its ids even in jobs0 and odd in
-- jobs1, so that an id tells its database:
--
--     alter table jobs alter id set increment by 2 restart with 2;      -- in jobs1: restart with 1
--
-- Producers and operators use the front, with the usual function names. Workers connect to the database
-- whose jobs they run: PL/Proxy passes on no NOTIFY, and a claim through the front would gain nothing.
\set ON_ERROR_STOP on

create extension if not exists plproxy;

create server jobs foreign data wrapper plproxy options (p0 :'p0', p1 :'p1');
create user mapping for current_user server jobs;

-- The columns of a job that the front shows; PL/Proxy matches them by name.
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

-- Same arguments, same order: PL/Proxy then calls the function of the same name. Jobs with the same key
-- go to the same database, so the key stays unique; a job without a key goes to any database.
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
