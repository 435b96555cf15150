"""Every SQL function with arguments of the right type and strange values.

Either the call works, or an error of pgjobs names the argument. Whatever a call has stored, all
work goes on afterwards: no row may make a claim, a recovery or a client fail.
"""

from typing import Any

import psycopg
import pytest
from hypothesis import assume, given
from model.calls import connect
from model.profile import bounded
from model.wild import arguments, written_out

FUNCTIONS = [
    "jobs_enqueue", "jobs_enqueue_many", "jobs_claim", "jobs_next_due", "jobs_start",
    "jobs_complete", "jobs_fail", "jobs_complete_many", "jobs_fail_many", "jobs_release_many",
    "jobs_heartbeat", "jobs_recover", "jobs_cancel", "jobs_retry", "jobs_retry_many", "jobs_pause",
    "jobs_copy", "jobs_edit", "jobs_cancel_many", "jobs_edit_many", "jobs_delete_many",
    "jobs_resume", "jobs_limit", "jobs_cleanup", "jobs_grant", "jobs_worker_start",
    "jobs_worker_stop",
    "jobs_channel", "_jobs_next_due", "_jobs_reconcile", "_jobs_recover_own", "_jobs_worker_beat",
    "_jobs_worker_help", "_jobs_worker_mode", "_jobs_worker_tick", "_jobs_worker_watch",
    "_jobs_end_attempts", "_jobs_claimed", "_jobs_is_new", "jobs_counts", "_jobs_counts",
    "_jobs_rates", "_jobs_recent_ends", "_jobs_waiting_groups", "_jobs_search",
    "_jobs_audit_search", "_jobs_failures", "jobs_cron_next",
    "jobs_schedule", "jobs_schedule_pause",
    "jobs_schedule_preview", "jobs_schedule_resume", "jobs_schedule_run",
    "jobs_schedules_fire", "jobs_unschedule", "_jobs_schedules_declare", "_jobs_schedules_diff",
    "jobs_retain", "_jobs_retention_declare", "_jobs_retention_diff", "_jobs_retention_enforce",
    "_jobs_limits_declare", "_jobs_limits_diff", "_jobs_limits_undeclare", "jobs_heal_groups",
    "_jobs_held_back", "jobs_watch", "jobs_outcomes", "jobs_progress", "jobs_why",
    "jobs_batch", "jobs_batch_close", "jobs_parents", "_jobs_flow_attach", "_jobs_flow_resolve",
    "_jobs_complete_uncounted", "_jobs_note_ends",
]
CLAIM_ALL = "select * from jobs_claim('z', array(select distinct queue from jobs), 100)"
DELETES = {
    "jobs_cleanup", "jobs_delete_many", "jobs_complete_many", "_jobs_complete_uncounted",
    "_jobs_retention_enforce",
}
Conn = psycopg.Connection[dict[str, Any]]


def populate(conn: Conn) -> None:
    """Ids 1 to 3 pending, 4 to 6 held by w, then one of each final status."""
    conn.execute(
        "select jobs_enqueue('t', queue => q) from unnest('{default,default,other}'::text[]) q"
    )
    conn.execute(
        "insert into jobs (job_type, status, worker, attempt, lease_until, unique_key)"
        " values ('t', 'processing', 'w', 1, 'tomorrow', 'k'),"
        " ('t', 'processing', 'w', 1, 'tomorrow', null), ('t', 'processing', 'v', 1, null, null)"
    )
    conn.execute(
        "insert into jobs (job_type, status, attempt, finished_at)"
        " values ('t', 'completed', 1, 'yesterday'), ('t', 'failed', 1, 'yesterday'),"
        " ('t', 'cancelled', 1, 'yesterday')"
    )
    conn.execute("select jobs_batch('t'), jobs_enqueue('t', depends_on => '{1,2}')")
    conn.execute("select jobs_schedule('nightly', 't', '0 3 * * *')")
    conn.execute("select jobs_retain('failed', '1 hour')")


def signature(conn: Conn, function: str) -> dict[str, str]:
    """The types of a function's arguments by name."""
    rows = conn.execute(
        "select name, format_type(type, null) as type"
        " from pg_proc p, unnest(p.proargnames, p.proargtypes::oid[]) a(name, type)"
        " where p.proname = %s and type is not null", [function],
    ).fetchall()
    assert rows
    return {row["name"]: row["type"] for row in rows}


def table(conn: Conn) -> list[dict[str, Any]]:
    # Raises if a row has a time that Python cannot hold.
    return conn.execute("select * from jobs order by id").fetchall()


def work_goes_on(conn: Conn) -> None:
    """Calls the functions for many jobs at once, as workers and operators do."""
    conn.execute("update jobs set run_at = least(run_at, clock_timestamp())")
    conn.execute("select jobs_next_due(array(select queue from jobs))")
    for _ in range(3):
        conn.execute(f"""
            select jobs_fail_many('z', array_agg(id), array_agg(attempt), array_agg('e'::text),
                array_agg(true), array_agg(null::interval))
            from ({CLAIM_ALL}) c having count(*) > 0""")
        table(conn)
        conn.execute("update jobs set run_at = clock_timestamp()")
        conn.execute(CLAIM_ALL)
        for worker in ("w", "v", "z"):
            conn.execute("select jobs_recover(%s)", [worker])
        table(conn)
    conn.execute("select jobs_retry_many()")
    conn.execute("select * from jobs_stats").fetchall()


def unreadable(
    error: psycopg.Error, function: str, values: dict[str, str | None]
) -> str | None:
    """What is wrong with an error: it is not ours, or does not say which argument is at fault."""
    message = str(error.diag.message_primary)
    names = list(values)
    # Only pgjobs' own worker calls internal functions and gives floors: any refusal will do.
    internal = function.startswith("_jobs_") or values.get("floors") is not None
    if internal and str(error.sqlstate).startswith("22"):
        return None
    if not str(error.sqlstate).startswith("JQ"):
        return f"{error.sqlstate}: {message[:200]}"
    if len(message) > 1000:
        return f"too long: {message[:200]}"
    words = {word for name in names for word in (name.removeprefix("set_"), name.removesuffix("s"))}
    named = any(word in message for word in words)
    return None if named or error.sqlstate != "JQ003" else f"which argument? {message}"


def examine(conn: Conn, function: str, call: str, values: dict[str, str | None]) -> None:
    before = table(conn)
    conn.execute("savepoint call")
    try:
        conn.execute(call, values).fetchall()
    except psycopg.Error as error:
        problem = unreadable(error, function, values)
        if problem:
            raise AssertionError(problem) from error
        conn.execute("rollback to call")
        assert table(conn) == before
        return
    if function not in DELETES:
        assert {row["id"] for row in before} <= {row["id"] for row in table(conn)}
    work_goes_on(conn)


def try_function(conn: Conn, function: str, *, infinite_intervals: bool) -> None:
    """Tries one function with many arguments."""

    types = signature(conn, function)
    names = ", ".join(f"{name} => %({name})s::{type_name}" for name, type_name in types.items())

    @bounded(40, long=3000)
    @given(arguments(types))
    def try_it(drawn):
        values = {name: written_out(text) for name, text in drawn.items()}
        intervals = [values[name] for name in types if types[name].startswith("interval")]
        assume(infinite_intervals or "infinity" not in str(intervals))
        conn.execute("begin")
        try:
            examine(conn, function, f"select * from {function}({names})", values)
        finally:
            conn.execute("rollback")

    try_it()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_bad_input_is_refused_by_name_and_does_no_harm(pgjobs_dsn, function):
    with connect(pgjobs_dsn) as conn:
        conn.execute("set statement_timeout = '20s'")
        populate(conn)
        try_function(conn, function, infinite_intervals=conn.info.server_version >= 170000)
