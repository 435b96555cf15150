"""Flows beside a model that looks at the parents alone, in random order of calls.

No worker of pgjobs lives here, so each end is counted by the call that makes it.
"""

from dataclasses import dataclass, field

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from model.calls import connect
from model.profile import bounded

POLICIES = st.sampled_from(["cancel", "run", "wait", "only"])
PLACES = st.integers(0, 50)
ENDED = {"completed", "failed", "cancelled"}


@dataclass
class Modelled:
    """A job: what it waits for, and whether it has run."""

    status: str
    parents: set[int] = field(default_factory=set)
    policy: str = "cancel"
    is_batch: bool = False
    is_open: bool = False
    has_run: bool = False


class Flows(RuleBasedStateMachine):
    """The calls, the model, and what is compared after each call."""

    conn: psycopg.Connection[dict[str, object]]

    def __init__(self) -> None:
        super().__init__()
        self.conn.execute(
            "truncate jobs, jobs_flows, jobs_flow_edges, jobs_flow_changes restart identity")
        self.jobs: dict[int, Modelled] = {}

    # -- the model

    def settle(self) -> None:
        """Lets go or cancels blocked jobs, until none changes."""
        is_settled = False
        while not is_settled:
            is_settled = True
            for job in self.jobs.values():
                if job.status == "blocked" and (status := self.let_go(job)) != "blocked":
                    job.status = status
                    is_settled = False

    def let_go(self, job: Modelled) -> str:
        statuses = [self.jobs[parent].status for parent in job.parents]
        has_failed = any(status in ("failed", "cancelled") for status in statuses)
        if job.policy == "cancel" and has_failed:
            return "cancelled"
        awaited = {"completed"} if job.policy == "wait" else ENDED
        if job.is_open or not set(statuses) <= awaited:
            return "blocked"
        return "cancelled" if job.policy == "only" and not has_failed else "pending"

    def agree(self, *, enqueued: bool = False) -> None:
        self.settle()
        expected = {job_id: job.status for job_id, job in self.jobs.items()}
        if enqueued:
            # Who enqueues counts nothing, also where no worker lives.
            self.conn.execute("select _jobs_flow_attach(100)")
            self.conn.execute("select _jobs_flow_resolve(100)")
        for _ in range(2):
            rows = self.conn.execute("select id, status, depends_on_left from jobs").fetchall()
            assert {row["id"]: row["status"] for row in rows} == expected
            # A new member is counted with the next end; no status changes by that.
            self.conn.execute("select _jobs_flow_resolve(100)")
        for row in rows:
            job = self.jobs[row["id"]]
            if job.status == "blocked":
                awaited = {"completed"} if job.policy == "wait" else ENDED
                left = sum(self.jobs[p].status not in awaited for p in job.parents)
                assert row["depends_on_left"] == left, row
        assert self.conn.execute("select * from jobs_flow_changes").fetchall() == []
        for row in self.conn.execute("select * from jobs_batches").fetchall():
            job = self.jobs[row["batch_id"]]
            assert (row["total"], row["open"]) == (len(job.parents), job.is_open)
            if job.status == "blocked":
                statuses = [self.jobs[p].status for p in job.parents]
                for status in ENDED:
                    assert row[status] == statuses.count(status), row

    def call(self, query: str, *args: object) -> list[dict[str, object]] | str:
        """The rows, or the SQLSTATE of the error."""
        try:
            return self.conn.execute(query, args).fetchall()
        except psycopg.Error as error:
            assert error.sqlstate is not None
            return error.sqlstate

    def chosen(self, place: int, *statuses: str) -> int | None:
        ids = [i for i, job in self.jobs.items() if job.status in statuses]
        return ids[place % len(ids)] if ids else None

    def add(self, query: str, args: list[object], job: Modelled) -> None:
        rows = self.call(query, *args)
        assert isinstance(rows, list), rows
        self.jobs[rows[0]["id"]] = job  # type: ignore[index]

    # -- the calls

    @rule(parents=st.lists(PLACES, max_size=3), policy=POLICIES, member_of=st.none() | PLACES)
    def enqueue(self, parents: list[int], policy: str, member_of: int | None) -> None:
        ids = [*self.jobs]
        named = {ids[place % len(ids)] for place in parents} if ids else set()
        batches = [i for i, job in self.jobs.items() if job.is_batch]
        batch = batches[member_of % len(batches)] if member_of is not None and batches else None
        rows = self.call(
            "select id from jobs_enqueue('t', max_retries => 0, depends_on => %s,"
            " on_parent_failed => %s, batch_id => %s)", list(named), policy, batch)
        if batch is not None and self.jobs[batch].status != "blocked":
            assert rows == "JQ002"
        elif batch is not None and named & self.below(batch):
            assert rows == "JQ003"
        else:
            job = Modelled("blocked" if named else "pending", named, policy)
            new = rows[0]["id"]  # type: ignore[index]
            self.jobs[new] = job  # type: ignore[index]
            if batch is not None:
                self.jobs[batch].parents.add(new)  # type: ignore[arg-type]
        self.agree(enqueued=True)

    def below(self, job_id: int) -> set[int]:
        found, new = {job_id}, {job_id}
        while new:
            new = {i for i, job in self.jobs.items() if job.parents & new} - found
            found |= new
        return found

    @rule(policy=POLICIES)
    def batch(self, policy: str) -> None:
        self.add("select id from jobs_batch('t', max_retries => 0, on_parent_failed => %s)",
                 [policy], Modelled("blocked", policy=policy, is_batch=True, is_open=True))
        self.agree()

    @rule(place=PLACES)
    def close(self, place: int) -> None:
        batches = [i for i, job in self.jobs.items() if job.is_batch]
        if batches:
            batch = batches[place % len(batches)]
            self.call("select jobs_batch_close(%s)", batch)
            self.jobs[batch].is_open = False
            self.agree()

    @rule(place=PLACES)
    def start(self, place: int) -> None:
        if (job_id := self.chosen(place, "pending")) is not None:
            self.call("select jobs_start(%s, 'me')", job_id)
            self.jobs[job_id].status, self.jobs[job_id].has_run = "processing", True
            self.agree()

    @rule(place=PLACES, outcome=st.sampled_from(["completed", "completed", "failed", "cancelled"]))
    def end(self, place: int, outcome: str) -> None:
        if (job_id := self.chosen(place, "processing")) is not None:
            self.call({
                "completed": "select jobs_complete_many('me', array[%s::bigint], array[("
                             "select attempt from jobs where id = %s)], '{null}')",
                "failed": "select jobs_fail(%s, 'e', retry => %s = 0)",
                "cancelled": "select jobs_cancel(%s, worker => 'me') where %s > 0",
            }[outcome], job_id, job_id)
            self.jobs[job_id].status = outcome
            self.agree()

    @rule(place=PLACES, downstream=st.booleans())
    def cancel(self, place: int, downstream: bool) -> None:
        if (job_id := self.chosen(place, "pending", "blocked")) is not None:
            self.call("select jobs_cancel(%s, downstream => %s)", job_id, downstream)
            cancelled = self.below(job_id) if downstream else {job_id}
            for found in cancelled:
                if found == job_id or self.jobs[found].status == "blocked":
                    self.jobs[found].status = "cancelled"
            self.agree()

    @rule(place=PLACES)
    def retry(self, place: int) -> None:
        if (job_id := self.chosen(place, *ENDED)) is not None:
            job = self.jobs[job_id]
            self.call("select jobs_retry(%s)", job_id)
            waits = not job.has_run and (job.is_open or any(
                self.jobs[parent].status not in ENDED for parent in job.parents))
            job.status = "blocked" if waits else "pending"
            self.agree()

    @rule()
    def tidy(self) -> None:
        self.conn.execute("update jobs_flows set counted_at = counted_at - interval '2 hours'"
                          " where counted_at < now()")
        self.conn.execute("select _jobs_flow_tidy(100), _jobs_flow_resolve(100)")
        self.agree()


def test_blocked_jobs_do_what_a_look_at_their_parents_says(pgjobs_dsn: str) -> None:
    with connect(pgjobs_dsn) as Flows.conn:
        run_state_machine_as_test(Flows, settings=bounded(60, long=3000))  # type: ignore[arg-type]
