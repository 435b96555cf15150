"""Batches of two sessions on the same jobs, really at the same time: none may deadlock."""

import threading
from datetime import timedelta
from typing import Any

import psycopg
from hypothesis import given
from hypothesis import strategies as st
from model.calls import call, connect
from model.machine import MINUTE
from model.profile import bounded

JOBS = 40
ORDERS = st.permutations(range(1, JOBS + 1))
WORKER = {"worker": "w", "lease": MINUTE}
FINAL = ["completed", "failed", "cancelled"]


def batch(
    function: str, ids: list[int], plain: dict[str, Any] | None = None, **lists: Any
) -> tuple[str, dict[str, Any]]:
    filled = {name: [value] * len(ids) for name, value in lists.items()}
    fences = {"job_ids": ids, "attempts": [1] * len(ids)}
    return function, {"worker": "w", **fences, **filled, **(plain or {})}


def keyed(ids: list[int], **more: Any) -> list[dict[str, Any]]:
    return [{"job_type": "t", "unique_key": str(i), **more} for i in ids]


STATEMENTS = {
    "complete": lambda ids: batch("jobs_complete_many", ids, results=None),
    "delete": lambda ids: batch("jobs_complete_many", ids, {"keep": False}, results=None),
    "fail": lambda ids: batch("jobs_fail_many", ids, errors="e", retries=True, retry_ins=None),
    "give up": lambda ids: batch("jobs_fail_many", ids, errors="e", retries=False, retry_ins=None),
    "release": lambda ids: batch("jobs_release_many", ids),
    "heartbeat": lambda ids: batch("jobs_heartbeat", ids, {"lease": MINUTE}),
    "recover": lambda ids: ("jobs_recover", {"worker": "w"}),
    "retry": lambda ids: ("jobs_retry_many", {}),
    "claim": lambda ids: ("jobs_claim", {**WORKER, "max_jobs": len(ids)}),
    "clean up": lambda ids: ("jobs_cleanup", {"older_than": timedelta(0), "statuses": FINAL}),
    "cancel": lambda ids: ("jobs_cancel", {"job_id": ids[0]}),
    "cancel many": lambda ids: ("jobs_cancel_many", {"job_ids": ids}),
    "edit": lambda ids: ("jobs_edit", {"job_id": ids[0], "priority": ids[-1] % 9}),
    "edit many": lambda ids: (
        "jobs_edit_many", {"set_priority": ids[0] % 9, "job_types": ["t"]}),
    "delete many": lambda ids: ("jobs_delete_many", {"queues": ["default"]}),
    "enqueue": lambda ids: ("jobs_enqueue_many", {"jobs": keyed(ids)}),
    "enqueue pending": lambda ids: (
        "jobs_enqueue_many", {"jobs": keyed(ids, unique_scope="pending")}),
    "replace": lambda ids: (
        "jobs_enqueue_many",
        {"jobs": keyed(ids, unique_scope="pending", on_conflict="replace")}),
}

SCRIPTS = st.lists(st.tuples(st.sampled_from(sorted(STATEMENTS)), ORDERS), min_size=3, max_size=6)


def run(conn: psycopg.Connection[dict[str, Any]], script: Any, failures: list[object]) -> None:
    for name, ids in script:
        function, arguments = STATEMENTS[name](ids)
        try:
            call(conn, function, **arguments)
        except psycopg.Error as error:
            if not str(error.sqlstate).startswith("JQ"):
                failures.append((name, error))


def test_batches_of_two_sessions_never_deadlock(pgjobs_dsn):
    with connect(pgjobs_dsn) as one, connect(pgjobs_dsn) as two:
        for conn in (one, two):
            conn.execute("set deadlock_timeout = '5ms'")

        @bounded(60, long=5000)
        @given(st.sampled_from(["live", "pending"]), SCRIPTS, SCRIPTS)
        def together(scope, first, second):
            one.execute("truncate jobs restart identity")
            jobs = keyed(list(range(JOBS)), unique_scope=scope)
            call(one, "jobs_enqueue_many", jobs=jobs)
            call(one, "jobs_claim", max_jobs=JOBS, **WORKER)
            failures: list[object] = []
            threads = [threading.Thread(target=run, args=(one, first, failures)),
                       threading.Thread(target=run, args=(two, second, failures))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failures == []

        together()
