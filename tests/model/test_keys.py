"""Random calls about two unique keys, and real races about them.

In scope at most one job per type and key waits, what was given last is what ran last, a debounced
job starts in time, and nobody but `raise` and a retry by hand raises.
"""

import threading
import time
from datetime import timedelta
from itertools import count
from typing import Any

import psycopg
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from model.calls import call, connect
from model.machine import MINUTE, PLACES
from model.profile import bounded

HOUR = timedelta(hours=1)
KEYS = st.sampled_from(["k", "l"])
NEWEST_WINS: dict[str, dict[str, Any]] = {
    "replace": {"on_conflict": "replace"},
    "debounce": {"on_conflict": "debounce", "max_wait": HOUR, "run_at": None},
}
ENDS = ["complete", "fail", "give up", "release", "recover"]
HOLDS = """unique_key is not null and (unique_scope in ('kept', 'period')
    or status in ('pending', 'blocked') or status = 'processing' and unique_scope = 'live')"""
TWICE = f"""select job_type, unique_key from jobs where {HOLDS}
    group by job_type, unique_key having count(*) > 1"""


def end(conn: psycopg.Connection[dict[str, Any]], how: str, held: dict[str, Any]) -> None:
    """Ends an attempt of worker w, if w still holds it."""
    fence = {"worker": "w", "job_ids": [held["id"]], "attempts": [held["attempt"]]}
    if how == "complete":
        call(conn, "jobs_complete_many", **fence, results=[None])
    elif how == "release":
        call(conn, "jobs_release_many", **fence)
    elif how == "recover":
        call(conn, "jobs_recover", worker="w")
    else:
        call(conn, "jobs_fail_many", **fence, errors=["e"], retries=[how == "fail"],
             retry_ins=[timedelta(0)])


def claim(conn: psycopg.Connection[dict[str, Any]], max_jobs: int) -> list[dict[str, Any]]:
    conn.execute("update jobs set run_at = clock_timestamp() where status = 'pending'")
    return call(conn, "jobs_claim", worker="w", max_jobs=max_jobs, lease=MINUTE)


class NewestWins(RuleBasedStateMachine):
    conn: psycopg.Connection[dict[str, Any]]

    def __init__(self) -> None:
        super().__init__()
        self.conn.execute("truncate jobs restart identity")
        self.payloads = count(1)
        self.given: dict[str, int] = {}
        self.ran: dict[str, int] = {}

    @rule(key=KEYS, how=st.sampled_from(sorted(NEWEST_WINS)), many=st.booleans())
    def enqueue(self, key, how, many):
        job = {"job_type": "t", "payload": next(self.payloads), "unique_key": key,
               "unique_scope": "pending", "max_retries": 2, **NEWEST_WINS[how]}
        if many:
            job["max_wait"] = job.get("max_wait") and "1 hour"
            call(self.conn, "jobs_enqueue_many", jobs=[job])
        else:
            call(self.conn, "jobs_enqueue", **job)
        self.given[key] = job["payload"]

    @rule(max_jobs=st.integers(1, 2))
    def claim(self, max_jobs):
        for job in claim(self.conn, max_jobs):
            self.ran[job["unique_key"]] = job["payload"]

    @rule(how=st.sampled_from(ENDS), place=PLACES)
    def end(self, how, place):
        if held := self.held():
            end(self.conn, how, held[place % len(held)])

    def held(self) -> list[dict[str, Any]]:
        return self.conn.execute("select * from jobs where status = 'processing'").fetchall()

    @invariant()
    def one_waits_per_key(self):
        assert self.conn.execute(TWICE).fetchall() == []

    def teardown(self) -> None:
        for _ in range(20):
            call(self.conn, "jobs_recover", worker="w")
            self.claim(9)
            for job in self.held():
                end(self.conn, "complete", job)
        left = "select count(*) as n from jobs where status in ('pending', 'processing')"
        assert self.conn.execute(left).fetchone() == {"n": 0}
        assert self.ran == self.given


def test_after_all_runs_what_was_given_last_for_a_key_is_what_ran_last(pgjobs_dsn):
    with connect(pgjobs_dsn) as conn:
        NewestWins.conn = conn
        run_state_machine_as_test(NewestWins, settings=bounded(60, long=3000, steps=30))


SCOPES: dict[str, dict[str, Any]] = {
    "live": {}, "kept": {}, "pending": {}, "period": {"unique_for": timedelta(milliseconds=5)},
}
CONFLICTS: dict[str, dict[str, Any]] = {
    "return": {}, "raise": {}, "replace": {}, "debounce": {"max_wait": HOUR},
}
CALLS = st.lists(
    st.tuples(st.sampled_from(["enqueue", "enqueue", "work", "retry"]), KEYS,
              st.sampled_from(sorted(SCOPES)), st.sampled_from(sorted(CONFLICTS)),
              st.sampled_from(ENDS), st.sampled_from([timedelta(0), 2 * HOUR])),
    min_size=3, max_size=12,
)


def act(conn: psycopg.Connection[dict[str, Any]], script: Any, failures: list[object]) -> None:
    for what, key, scope, conflict, how, delay in script:
        try:
            if what == "enqueue":
                moment = conn.execute("select clock_timestamp() as now").fetchone()["now"] + delay
                call(conn, "jobs_enqueue", job_type="t", unique_key=key, unique_scope=scope,
                     on_conflict=conflict, run_at=moment, **SCOPES[scope], **CONFLICTS[conflict])
            elif what == "work":
                for job in call(conn, "jobs_claim", worker="w", max_jobs=2, lease=MINUTE):
                    end(conn, how, job)
            else:
                call(conn, "jobs_retry_many")
        except psycopg.Error as error:
            if not (what == "enqueue" and conflict == "raise" and error.sqlstate == "JQ004"):
                failures.append((what, scope, conflict, error))


def test_in_real_races_one_job_holds_a_key_and_only_raise_raises(pgjobs_dsn):
    with connect(pgjobs_dsn) as one, connect(pgjobs_dsn) as two, connect(pgjobs_dsn) as observer:
        for conn in (one, two):
            conn.execute("set deadlock_timeout = '5ms'")

        @bounded(60, long=5000)
        @given(CALLS, CALLS)
        def together(first, second):
            observer.execute("truncate jobs restart identity")
            failures: list[object] = []
            threads = [threading.Thread(target=act, args=(conn, script, failures))
                       for conn, script in ((one, first), (two, second))]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                assert observer.execute(TWICE).fetchall() == []
                time.sleep(0.001)
            for thread in threads:
                thread.join()
            assert failures == []
            assert observer.execute(TWICE).fetchall() == []

        together()
