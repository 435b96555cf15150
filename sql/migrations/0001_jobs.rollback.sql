drop table if exists jobs_workers;
drop table if exists jobs_queues;
drop table if exists jobs;
