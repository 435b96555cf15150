create or replace function _jobs_filters(
    job_ids bigint[],
    job_types text[],
    queues text[],
    group_keys text[],
    reference_type text,
    reference_id bigint,
    reference_key text,
    batch_id bigint,
    created_before timestamptz,
    failed_since timestamptz
) returns jsonb
language sql stable
set search_path from current
return jsonb_build_object(
    'job_ids', job_ids, 'job_types', job_types, 'queues', queues, 'group_keys', group_keys,
    'reference_type', reference_type, 'reference_id', reference_id, 'reference_key', reference_key,
    'batch_id', batch_id, 'created_before', created_before, 'failed_since', failed_since);

comment on function _jobs_filters is
    'internal: the filters of a call for many jobs, for jobs_audit';
