"""Two sessions whose steps interleave inside open transactions, one statement at a time.

The test finds the writes of a session by reading the table before and after each statement. The
committed table must equal these writes, applied in the order of the commits: then no write was lost
or undone, whatever the other session did in between.
"""

from collections import Counter
from datetime import timedelta
from typing import Any

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from model.calls import call, connect
from model.machine import MINUTE, PLACES
from model.profile import bounded

BOTH = st.sampled_from([0, 1])
WORKERS = st.sampled_from(["w1", "w2"])
TYPES = st.sampled_from(["t", "u"])
KEYS = st.sampled_from([None, "k", "l"])
SCOPES = st.sampled_from(["live", "kept", "pending"])
CONFLICTS = st.sampled_from(["return", "replace"])
FENCES = st.lists(st.tuples(PLACES, st.sampled_from([0, 0, 0, -1])), min_size=1, max_size=5)
ENDS = ("jobs_complete_many", "jobs_fail_many", "jobs_release_many", "jobs_recover")

Table = dict[int, dict[str, Any]]


def pick(place: int, preferred: list[int], others: list[int]) -> int:
    """Mostly a preferred id; now and then any other, or the id of no job."""
    ids = preferred if preferred and place % 8 < 7 else [*others, 999]
    return ids[place // 8 % len(ids)]


class Session:
    """One connection, and the writes, claims and ends of its open transaction."""

    def __init__(self, conn: psycopg.Connection[dict[str, Any]]) -> None:
        self.conn = conn
        self.open = False
        self.forget()

    def forget(self) -> None:
        self.writes: dict[int, dict[str, Any] | None] = {}
        self.claimed: list[tuple[int, int]] = []
        self.ended: list[tuple[int, int]] = []

    def table(self) -> Table:
        return {row["id"]: row for row in self.conn.execute("select * from jobs").fetchall()}

    def end(self, how: str) -> None:
        self.conn.execute(how)
        self.open = False


class Interleaving(RuleBasedStateMachine):
    conns: list[psycopg.Connection[dict[str, Any]]]  # two act, the third only reads

    def __init__(self) -> None:
        super().__init__()
        for conn in self.conns:
            conn.execute("rollback")
        self.conns[2].execute("truncate jobs restart identity")
        self.sessions = [Session(conn) for conn in self.conns[:2]]
        self.observer = Session(self.conns[2])
        self.committed: Table = {}
        self.claims: Counter[tuple[int, int]] = Counter()
        self.ends: Counter[tuple[int, int]] = Counter()

    @initialize(count=st.integers(1, 8))
    def fill(self, count):
        self.enqueue_many(0, [("t", None)] * count)

    # -- transactions

    @rule(who=BOTH)
    def begin(self, who):
        if not self.sessions[who].open:
            self.sessions[who].conn.execute("begin")
            self.sessions[who].open = True

    @rule(who=BOTH)
    def commit(self, who):
        session = self.sessions[who]
        if session.open:
            session.end("commit")
            self.settle(session)

    @rule(who=BOTH)
    def rollback(self, who):
        session = self.sessions[who]
        if session.open:
            session.end("rollback")
            session.forget()
            assert self.observer.table() == self.committed, "a rollback leaves nothing"

    def settle(self, session: Session) -> None:
        for job_id, row in session.writes.items():
            if row is None:
                self.committed.pop(job_id)
            else:
                self.committed[job_id] = row
        assert self.observer.table() == self.committed, "what was committed is there, and no more"
        self.claims.update(session.claimed)
        self.ends.update(session.ended)
        assert max(self.claims.values(), default=1) == 1, "one claim per job and attempt"
        assert max(self.ends.values(), default=1) == 1, "one end per job and attempt"
        assert not self.ends.keys() - self.claims.keys(), "only what was claimed ends"
        keys = Counter(
            (row["job_type"], row["unique_key"]) for row in self.committed.values()
            if row["unique_key"]
            and (row["unique_scope"] == "kept" or row["status"] == "pending"
                 or (row["status"], row["unique_scope"]) == ("processing", "live"))
        )
        assert max(keys.values(), default=1) == 1, "one holder per key"
        session.forget()

    # -- statements

    def act(self, who: int, function: str, **arguments: Any) -> list[Any] | None:
        """What the function returns; None if it would wait for the other session or is refused."""
        session = self.sessions[who]
        before = session.table()
        if session.open:
            session.conn.execute("savepoint step")
        try:
            rows = call(session.conn, function, **arguments)
        except psycopg.Error as error:
            if not str(error.sqlstate).startswith(("55P03", "JQ")):
                raise
            if session.open:
                session.conn.execute("rollback to step")
            assert session.table() == before
            return None
        after = session.table()
        changed = {i for i in before.keys() | after.keys() if before.get(i) != after.get(i)}
        session.writes |= {i: after.get(i) for i in changed}
        answer = [row.get("id", next(iter(row.values()))) for row in rows]
        if function.startswith(ENDS) or function == "jobs_claim":
            assert sorted(answer) == sorted(changed), "it answers what it changed"
        for i in changed:
            was, now = before.get(i), after.get(i)
            if now and now["status"] == "processing" and now["attempt"] > was["attempt"]:
                session.claimed.append((i, now["attempt"]))
            elif was and was["status"] == "processing" and (not now or not now["worker"]):
                session.ended.append((i, was["attempt"]))
        if not session.open:
            self.settle(session)
        return answer

    @rule(who=BOTH, job_type=TYPES, unique_key=KEYS, unique_scope=SCOPES, on_conflict=CONFLICTS)
    def enqueue(self, who, job_type, unique_key, unique_scope, on_conflict):
        self.act(who, "jobs_enqueue", job_type=job_type, unique_key=unique_key,
                 unique_scope=unique_scope, backoff=[timedelta(0)], max_retries=1,
                 on_conflict=on_conflict if unique_key else None)

    @rule(who=BOTH, keys=st.lists(st.tuples(TYPES, KEYS), min_size=1, max_size=4))
    def enqueue_many(self, who, keys):
        jobs = [{"job_type": t, "unique_key": key, "backoff": ["0"]} for t, key in keys]
        ids = self.act(who, "jobs_enqueue_many", jobs=jobs)
        assert ids is None or len(ids) == len(keys)

    @rule(who=BOTH, worker=WORKERS, max_jobs=st.integers(1, 4), types=st.none() | st.lists(TYPES))
    def claim(self, who, worker, max_jobs, types):
        ids = self.act(who, "jobs_claim", worker=worker, max_jobs=max_jobs, job_types=types)
        assert ids is not None, "a claim waits for nobody"

    @rule(who=BOTH, worker=WORKERS, fences=FENCES,
          function=st.sampled_from([*ENDS[:3], "jobs_heartbeat", "delete"]))
    def batch(self, who, worker, fences, function):
        # Ids that a worker could know: of rows that any session has seen, mostly of held jobs.
        seen = self.committed | {i: r for s in self.sessions for i, r in s.writes.items() if r}
        held = [i for i, row in seen.items() if row["status"] == "processing"]
        job_ids = [pick(place, held, list(seen)) for place, _ in fences]
        n = len(fences)
        off = zip(job_ids, (o for _, o in fences), strict=True)
        attempts = [seen.get(i, {"attempt": 1})["attempt"] + o for i, o in off]
        more: dict[str, Any] = {
            "jobs_complete_many": {"results": [None] * n},
            "delete": {"results": [None] * n, "keep": False},
            "jobs_fail_many": {"errors": ["e"] * n, "retries": [None] * n,
                               "retry_ins": [None] * n},
            "jobs_release_many": {},
            "jobs_heartbeat": {"lease": MINUTE},
        }[function]
        answer = self.act(
            who, "jobs_complete_many" if function == "delete" else function,
            worker=worker, job_ids=job_ids, attempts=attempts, **more,
        )
        assert function != "jobs_heartbeat" or answer is not None, "a heartbeat waits for nobody"

    @rule(who=BOTH, place=PLACES, function=st.sampled_from(["jobs_cancel", "jobs_retry"]))
    def one(self, who, place, function):
        self.act(who, function, job_id=pick(place, [], list(self.committed)))

    @rule(who=BOTH, place=PLACES, worker=WORKERS)
    def start(self, who, place, worker):
        job_id = pick(place, [], list(self.committed))
        self.act(who, "jobs_start", job_id=job_id, worker=worker)

    @rule(who=BOTH, worker=st.none() | WORKERS)
    def recover(self, who, worker):
        assert self.act(who, "jobs_recover", worker=worker) is not None, "recovery waits for nobody"

    @rule(who=BOTH)
    def retry_many(self, who):
        self.act(who, "jobs_retry_many")

    @rule(who=BOTH)
    def cleanup(self, who):
        count = self.act(who, "jobs_cleanup", older_than=timedelta(0),
                         statuses=["completed", "failed", "cancelled"])
        assert count is not None, "cleaning up waits for nobody"


def test_two_sessions_never_undo_each_others_work(pgjobs_dsn):
    with connect(pgjobs_dsn) as one, connect(pgjobs_dsn) as two, connect(pgjobs_dsn) as observer:
        Interleaving.conns = [one, two, observer]
        for conn in (one, two):
            conn.execute("set lock_timeout = '15ms'")
        run_state_machine_as_test(Interleaving, settings=bounded(25, long=2000))
        one.execute("rollback")
        two.execute("rollback")
