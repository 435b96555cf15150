-- The ledger as `pgjobs migrate` of 0.1.0 kept it. Never to be edited, as schema_0_1_0.sql.
create table pgjobs_migrations (
    migration_hash varchar(64) not null primary key,
    migration_id varchar(255),
    applied_at_utc timestamp
);
create table pgjobs_migrations_lock (
    locked int default 1 not null primary key,
    ctime timestamp,
    pid int not null
);
create table pgjobs_migrations_log (
    id varchar(36) not null primary key,
    migration_hash varchar(64),
    migration_id varchar(255),
    operation varchar(10),
    username varchar(255),
    hostname varchar(255),
    comment varchar(255),
    created_at_utc timestamp
);
create table pgjobs_migrations_version (
    version int not null primary key,
    installed_at_utc timestamp
);
insert into pgjobs_migrations values (
    '5873771ebe71c032b981c22053293d3159f5be4a3c245b16785f833277b236a6', '0001_jobs',
    '2026-11-24 18:00:00.2');
insert into pgjobs_migrations_log values (
    '083c01a2-e5f3-4a3f-a13f-8a4225894408',
    '5873771ebe71c032b981c22053293d3159f5be4a3c245b16785f833277b236a6', '0001_jobs', 'apply',
    'postgres', 'db', null, '2026-11-24 18:00:00.1');
insert into pgjobs_migrations_version values (2, '2026-11-24 18:00:00.0');
