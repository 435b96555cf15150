#!/bin/sh
# A worker in a shell and psql: it needs four SQL functions. PGHOST and similar variables, or PGJOBS_DSN,
# name the database. It ends when no job is due; a real worker would wait for NOTIFY on <schema>.jobs.
set -eu
me="shell-$$"
sql() { psql "${PGJOBS_DSN:-}" -XAtq -v ON_ERROR_STOP=1 -F ' ' "$@"; }

while true; do
    job=$(sql -c "select id, attempt, job_type from jobs_claim('$me', lease => '5 minutes')")
    [ -n "$job" ] || break
    read -r id attempt job_type <<END
$job
END
    echo "job $id: $job_type, attempt $attempt"
    # The work. A long job needs jobs_heartbeat meanwhile; this one ends or fails at once.
    if [ "$job_type" = "fail" ]; then
        sql -c "select 'failed: ' || status from jobs_fail($id, 'no luck', worker => '$me', attempt => $attempt)"
    else
        sql -c "select 'ended: ' || status from jobs_complete($id, '{\"by\": \"sh\"}', '$me', $attempt)"
    fi
done
