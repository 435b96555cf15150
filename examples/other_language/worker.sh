#!/bin/sh
# A worker in a shell and psql: four SQL functions are all it takes. PGHOST and its kin, or PGJOBS_DSN,
# say where the database is. Ends when nothing is due; a real one would wait for NOTIFY on <schema>.jobs.
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
    # The work. A long one calls jobs_heartbeat meanwhile; here it is done at once, or fails.
    if [ "$job_type" = "fail" ]; then
        sql -c "select 'failed: ' || status from jobs_fail($id, 'no luck', worker => '$me', attempt => $attempt)"
    else
        sql -c "select 'ended: ' || status from jobs_complete($id, '{\"by\": \"sh\"}', '$me', $attempt)"
    fi
done
