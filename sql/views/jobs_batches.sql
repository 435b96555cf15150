-- Counted when a worker counts, so some milliseconds behind the members. open: more members may
-- come from outside.
create or replace view jobs_batches as
select f.job_id as batch_id,
    f.parents as total,
    f.completed,
    f.failed,
    f.cancelled,
    f.is_open as open
from jobs_flows f
where f.is_batch;

comment on view jobs_batches is
    'per batch: how many members it has, and what became of them; batch_id: the callback''s id';
