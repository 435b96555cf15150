-- Each insert takes the next id of the sequence, also an insert that then finds its unique_key
-- held. So the last id that this session took is the id of the job only if jobs_enqueue has added
-- the job.
create or replace function _jobs_is_new(job_id bigint) returns boolean
language sql volatile security definer
set search_path from current
return currval(pg_get_serial_sequence('jobs', 'id')) = job_id;

comment on function _jobs_is_new is
    'internal: whether this session''s last call of jobs_enqueue has added that job';
