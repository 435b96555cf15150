"""What a state machine over the SQL functions needs: the database, the clock, values to draw."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine
from model.between import Between
from model.calls import call
from model.model import Model, Refused, Row

MINUTE = timedelta(minutes=1)
WORKERS = st.sampled_from(["w1", "w2"])
QUEUES = st.sampled_from(["a", "b"])
TYPES = st.sampled_from(["t", "u"])
DELAYS = st.sampled_from([timedelta(0), MINUTE, 60 * MINUTE])
PLACES = st.integers(0, 127)
BACKOFFS = st.none() | st.lists(DELAYS, min_size=1, max_size=3)
JSON = st.sampled_from([None, 1, "x", {"a": [1]}])

NEW = st.fixed_dictionaries(
    {"job_type": TYPES, "queue": QUEUES},
    optional={
        "priority": st.sampled_from([-9, 0, 0, 9]),
        "max_retries": st.integers(0, 3),
        "backoff": BACKOFFS,
        "unique_key": st.sampled_from([None, "k", "l"]),
        "unique_scope": st.sampled_from(["live", "kept"]),
        "payload": st.sampled_from([{}, [], {"a": 1}]),
        "reference_type": st.sampled_from([None, "file"]),
        "reference_id": st.sampled_from([None, 7]),
        "reference_key": st.sampled_from([None, "a-7"]),
        "headers": st.sampled_from([None, {"a": 1}]),
        "expires_at": st.sampled_from([None, datetime(2100, 1, 1, tzinfo=UTC)]),
    },
)


class TableMachine(RuleBasedStateMachine):
    """Drives the database beside the model and compares the whole table after each step."""

    conn: psycopg.Connection[dict[str, Any]]  # one for all examples

    def __init__(self) -> None:
        super().__init__()
        self.conn.execute("truncate jobs, jobs_queues restart identity")
        self.model = Model()

    # -- time

    def now(self) -> datetime:
        moment: datetime = self.conn.execute("select clock_timestamp() as now").fetchone()["now"]
        return moment

    def settle(self) -> datetime:
        """Waits until no time in the table is so near that a call could come before or after it."""
        now = self.now()
        moments = [j[c] for j in self.model.jobs.values() for c in ("run_at", "lease_until")]
        if any(m is not None and now < m < now + timedelta(seconds=0.3) for m in moments):
            time.sleep(0.3)
            return self.settle()
        return now

    # -- a step

    def call(self, function: str, **arguments: Any) -> tuple[list[Row], Between, str | None]:
        """Returns the rows, the time of the call, and the SQLSTATE if it was refused."""
        began = self.settle()
        rows: list[Row] = []
        state = None
        try:
            rows = call(self.conn, function, **arguments)
        except psycopg.Error as error:
            state = error.sqlstate
        return rows, Between(began, self.now()), state

    def values(self, function: str, **arguments: Any) -> tuple[list[Any], Between]:
        """The values of a function that returns one column; the call must not be refused."""
        rows, now, state = self.call(function, **arguments)
        assert state is None
        return [next(iter(row.values())) for row in rows], now

    def table(self) -> dict[int, Row]:
        rows = self.conn.execute("select * from jobs order by id").fetchall()
        return {row["id"]: row for row in rows}

    def agree(self) -> dict[int, Row]:
        """Asserts that the table equals the model; the model takes over the exact times."""
        table = self.table()
        assert list(table) == list(self.model.jobs)
        for job_id, row in table.items():
            expected = self.model.jobs[job_id]
            different = {k: (expected[k], v) for k, v in row.items() if expected[k] != v}
            assert not different, f"job {job_id}: (model, table) {different}"
        self.model.jobs = {job_id: dict(row) for job_id, row in table.items()}
        return table

    def expect(self, step: Any, rows: list[Row], state: str | None) -> None:
        """Asserts that the model gives the same ids in the same order, or the same error."""
        refused = None
        ids: list[int] = []
        try:
            answer = step()
            ids = answer if isinstance(answer, list) else [answer]
        except Refused as refusal:
            refused = str(refusal)
        assert state == refused
        table = self.agree()
        assert rows == [table[i] for i in ids], "what it returned is what the table holds"

    # -- values to draw

    def job_id(self, place: int, *statuses: str) -> int:
        """An id, mostly of a job in one of these statuses; now and then of no job at all."""
        ids = [job["id"] for job in self.model.jobs.values() if job["status"] in statuses]
        if not ids or place % 8 == 7:
            ids = [*self.model.jobs, 999]
        return ids[place // 8 % len(ids)]

    def fences(self, drawn: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Ids with their attempts; each attempt is shifted by the drawn number."""
        ids = [self.job_id(place, "processing") for place, _ in drawn]
        attempts = [self.model.jobs.get(i, {"attempt": 1})["attempt"] for i in ids]
        return [(i, a + off) for i, a, (_, off) in zip(ids, attempts, drawn, strict=True)]


FENCES = st.lists(st.tuples(PLACES, st.sampled_from([0, 0, 0, 0, 1, -1])), min_size=1, max_size=8)
