"""Every Python entry point with values of any kind: it works, or raises an error of pgjobs."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model.profile import bounded

from pgjobs import App, Backoff, InvalidArgument, Job, JobService, PgjobsError
from pgjobs.database import Database

MINUTE = timedelta(minutes=1)
DEEP: list[Any] = functools.reduce(lambda inner, _: [inner], range(3000), [])
HUGE = ["x"] * 10_000

STRANGE = st.sampled_from([
    None, True, 0, -1, 5, 2**31, 2**63, -(2**63), 10**30, 1.5, float("nan"), float("inf"), "", "x",
    "5", "\0", "a\0b", "\ud800", "x" * 513, b"x", Decimal("1e999"), object(), Ellipsis, int,
    timedelta(0), MINUTE, -MINUTE, timedelta.max, timedelta.min, datetime.max, datetime.min,  # noqa: DTZ901
    datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC),
    datetime(2030, 1, 1), datetime(2030, 1, 1, tzinfo=UTC), [], (), {}, [None], [1], ["x"],  # noqa: DTZ001
    [1, 2, 3], [[1], [2]], ["\0"], ["\ud800"], [object()], {"a": "\0"}, {"\ud800": 1}, {1: 2},
    [-MINUTE], [timedelta.max], [datetime.max], {"a": float("nan")}, ("t", 10**30), ("t", None),  # noqa: DTZ901
    ("", 1), ("t", 1, 2), (1, "t"), Backoff.fixed(MINUTE), Backoff.fixed(timedelta.max),
    "not json", "[1", "1e400", '"\\u0000"',
])
LARGE = {"<deep>": DEEP, "<huge>": HUGE}  # named, so that a report is readable
VALUES = STRANGE | st.just("<huge>") | st.text(max_size=5) | st.integers()
JSON = ("payload", "payloads", "result")

ENQUEUE = {
    "job_type": "t", "payload": {"a": 1}, "queue": "q", "priority": 1, "run_at": None,
    "delay": MINUTE, "reference": ("file", 1), "max_retries": 1, "unique_key": "k",
    "unique_scope": "live", "backoff": Backoff.fixed(MINUTE), "group_key": "g",
    "headers": {"a": 1}, "expires": MINUTE, "on_conflict": "debounce", "max_wait": MINUTE,
    "unique_for": None, "depends_on": [1], "on_parent_failed": "run", "batch": None,
}
MANY = {"job_type": "t", "payloads": [1, 2], "queue": "q", "priority": 1, "run_at": None,
        "delay": MINUTE, "reference": ("file", 1), "max_retries": 1, "backoff": None,
        "group_key": "g", "headers": {"a": 1}, "expires": MINUTE, "depends_on": [1],
        "on_parent_failed": "run", "batch": None}
FENCE = {"worker": "w", "job_ids": [2, 3], "attempts": [1, 1]}

# By entry point, arguments that are valid.
SERVICE: dict[str, dict[str, Any]] = {
    "create": {"job_type": "t", "reference_id": 1, "reference_type": "file", "payload": {},
               "max_retries": 3},
    "get": {"job_id": 1},
    "get_pending": {"job_type": "t", "limit": 5},
    "mark_processing": {"job_id": 1},
    "mark_completed": {"job_id": 2, "result": {}},
    "mark_failed": {"job_id": 2, "error": "e", "retry": True},
    "get_by_reference": {"reference_type": "file", "reference_id": 1},
    "cleanup_completed": {"days": 7},
    "recover": {},
}
DATABASE: dict[str, dict[str, Any]] = {
    "enqueue": {"job_type": "t", "payload": "{}", "queue": "q", "priority": 1, "run_at": MINUTE,
                "reference_type": "file", "reference_id": 1, "max_retries": 1, "unique_key": "k",
                "unique_scope": "live", "backoff": [MINUTE], "group_key": "g", "headers": "{}",
                "expires_at": MINUTE, "on_conflict": "debounce", "max_wait": MINUTE,
                "unique_for": None, "depends_on": [1], "on_parent_failed": "run",
                "batch_id": None},
    "batch": {"job_type": "t", "payload": "{}", "queue": "q", "depends_on": [1],
              "on_parent_failed": "run", "headers": "{}", "backoff": [MINUTE]},
    "batch_close": {"batch_id": 1},
    "batch_counts": {"batch_id": 1},
    "parents": {"job_id": 1},
    "flow_attach": {"max_edges": 1},
    "flow_pending": {},
    "flow_resolve": {"max_children": 1},
    "enqueue_many": {"jobs": '[{"job_type": "t"}]'},
    "moment": {"value": MINUTE},
    "claim": {"worker": "w", "queues": ["default"], "max_jobs": 1, "lease": MINUTE,
              "job_types": ["t"], "floors": "{}", "suspects": True, "free": 3},
    "next_due": {"queues": ["default"], "job_types": ["t"]},
    "look": {"queues": ["default"], "job_types": ["t"], "floors": "{}"},
    "complete_many": {**FENCE, "results": ["1", None], "keep": True},
    "complete_uncounted": {**FENCE, "results": ["1", None], "keep": True},
    "note_ends": {"ends": "[]"},
    "totals": {},
    "fail_many": {**FENCE, "errors": ["e", "e"], "retries": [True, False],
                  "retry_ins": [None, MINUTE]},
    "release_many": {**FENCE, "run_ats": [None, MINUTE]},
    "reconcile": {**FENCE, "backend": 1},
    "worker_beat": {**FENCE, "lease": MINUTE, "answer_within": MINUTE},
    "heartbeat": {**FENCE, "lease": MINUTE},
    "start": {"job_id": 1, "worker": "w", "lease": MINUTE},
    "complete": {"job_id": 2, "result": "{}", "worker": "w", "attempt": 1},
    "fail": {"job_id": 2, "error": "e", "retry": True, "retry_in": MINUTE, "worker": "w",
             "attempt": 1},
    "recover": {"worker": "w"},
    "recover_own": {"worker": "w", "claimed_before": MINUTE, "max_jobs": 1},
    "cancel": {"job_id": 1, "reason": "r", "worker": None, "attempt": None},
    "retry": {"job_id": 4},
    "retry_many": {"job_types": ["t"], "queues": ["q"], "failed_since": -MINUTE, "max_jobs": 1},
    "pause": {"queue": "q"},
    "limit": {"queue": "q", "max_running": 1, "max_running_per_group": 1, "rate_count": 1,
              "rate_period": MINUTE, "group_rate_count": 1, "group_rate_period": MINUTE,
              "in_order": True},
    "resume": {"queue": "q"},
    "heal_groups": {"max_groups": 1},
    "cleanup": {"older_than": MINUTE, "statuses": ["completed"], "max_jobs": 1,
                "finished_before": None},
    "grant": {"role_name": "nobody", "as_what": "producer"},
    "worker_start": {"worker": "n", "queues": ["q"], "job_types": ["t"], "concurrency": 1,
                     "version": "1"},
    "worker_stop": {"worker": "n"},
    "worker_tick": {"worker": "n", "is_full": True, "queues": ["q"]},
    "worker_watch": {"worker": "n", "floors": "{}", "seen": None},
    "worker_mode": {"worker": "n", "mode": "polling"},
    "channel": {"topic": "jobs"},
    "get": {"job_id": 1},
    "find": {"statuses": ["failed"], "job_types": ["t"], "queues": ["q"], "limit": 1, "before": 9,
             "reference_type": "file", "reference_id": 1, "reference_key": "k"},
    "listing": {"statuses": ["failed"], "job_types": ["t"], "queues": ["q"], "limit": 1,
                "reference_type": "file", "reference_id": 1, "reference_key": "k", "before": 9},
    "counts": {"cap": 1},
    "stats": {"cap": 1},
    "rates": {"within": MINUTE},
    "knows_queue": {"queue": "q"},
    "finished": {"statuses": ["failed"], "within": MINUTE, "before": MINUTE},
}
WORKER = {"queues": ["q"], "concurrency": 1, "name": "n", "lease": MINUTE, "grace": MINUTE,
          "keep_completed": True, "listen_dsn": None}
HANDLER = {"job_type": "u", "queue": "q", "priority": 1, "max_retries": 1, "timeout": MINUTE,
           "backoff": None}


def calls(points: dict[str, dict[str, Any]]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """An entry point and its arguments, one or two of them strange."""

    def of(name: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
        right = points[name]
        json = () if points is DATABASE else JSON  # Database takes JSON as text
        if not right:
            return st.just((name, {}))
        strange = {key: VALUES | st.just("<deep>") if key in json else VALUES for key in right}
        some = st.sets(st.sampled_from(sorted(right)), min_size=1, max_size=2)
        return some.flatmap(lambda keys: st.fixed_dictionaries({key: strange[key] for key in keys})
                            .map(lambda chosen: (name, {**right, **chosen})))

    return st.sampled_from(sorted(points)).flatmap(of)


def written_out(arguments: dict[str, Any]) -> dict[str, Any]:
    return {n: LARGE.get(v, v) if isinstance(v, str) else v for n, v in arguments.items()}


class Bench:
    """An app and a connection with jobs in each state, in one event loop for all calls."""

    def __init__(self, dsn: str, runner: asyncio.Runner) -> None:
        self.run = runner.run
        self.app = App(dsn=dsn)
        self.conn = self.run(asyncpg.connect(dsn))
        self.run(
            self.conn.execute("""
            insert into jobs (job_type, status, worker, attempt, finished_at) values
            ('t', 'pending', null, 0, null), ('t', 'processing', 'w', 1, null),
            ('t', 'processing', 'w', 1, null), ('t', 'failed', null, 1, 'yesterday')""")
        )

    async def table(self) -> list[Any]:
        return list(await self.conn.fetch("select * from jobs order by id"))

    async def attempt(self, call: Callable[[], Awaitable[Any]], *, deletes: bool = False) -> None:
        """One call in a transaction that is rolled back."""
        before = await self.table()
        outer = self.conn.transaction()
        await outer.start()
        try:
            async with self.conn.transaction():
                await call()
        except PgjobsError as error:
            assert str(error), "an error says why"
            assert await self.table() == before
        else:
            after = {row["id"] for row in await self.table()}
            assert deletes or {row["id"] for row in before} <= after
        finally:
            await outer.rollback()


@pytest.fixture
def bench(pgjobs_dsn: str) -> Iterator[Bench]:
    with asyncio.Runner() as runner:
        made = Bench(pgjobs_dsn, runner)
        yield made
        runner.run(made.app.close())
        runner.run(made.conn.close())


def test_the_app_enqueues_or_says_why_not(bench):
    async def handler(job: Job[Any]) -> None: ...

    task = bench.app.job("t")(handler)

    @bounded(300, long=20_000)
    @given(calls({"enqueue": ENQUEUE, "enqueue_many": MANY}), st.sampled_from([bench.app, task]))
    def try_it(call, of):
        name, arguments = call[0], written_out(call[1])
        if of is task:
            del arguments["job_type"]
        bench.run(bench.attempt(lambda: getattr(of, name)(**arguments, conn=bench.conn)))

    try_it()


def test_one_bad_call_among_others_at_the_same_time_is_refused_alone(bench):
    simple = {n: v for n, v in ENQUEUE.items() if n not in ("run_at", "delay")}

    async def together(arguments: dict[str, Any]) -> None:
        good = [bench.app.enqueue("t", number) for number in range(3)]
        bad = bench.app.enqueue(**arguments)
        results = await asyncio.gather(good[0], bad, *good[1:], return_exceptions=True)
        verdict = results.pop(1)
        assert [job.payload for job in results] == [0, 1, 2]
        assert isinstance(verdict, Job | PgjobsError), repr(verdict)

    @bounded(150, long=10_000)
    @given(calls({"enqueue": {**simple, "unique_key": None, "backoff": None}}))
    def try_it(call):
        bench.run(together(written_out(call[1])))

    try_it()


def test_a_service_method_works_or_says_why_not(bench):
    @bounded(300, long=20_000)
    @given(calls(SERVICE))
    def try_it(call):
        name, arguments = call[0], written_out(call[1])
        method = getattr(JobService(bench.conn, worker="w"), name)
        deletes = name == "cleanup_completed"
        bench.run(bench.attempt(lambda: method(**arguments), deletes=deletes))

    try_it()


def test_a_database_method_works_or_says_why_not(bench):
    @bounded(700, long=40_000)
    @given(calls(DATABASE))
    def try_it(call):
        name, arguments = call[0], written_out(call[1])
        method = getattr(Database(bench.conn), name)
        deletes = name in ("cleanup", "complete_many", "complete_uncounted")
        bench.run(bench.attempt(lambda: method(**arguments), deletes=deletes))

    try_it()


@pytest.mark.parametrize(("make", "right"), [("worker", WORKER), ("job", HANDLER)])
def test_workers_and_handlers_are_created_or_an_error_names_the_argument(bench, make, right):
    @bounded(150, long=10_000)
    @given(calls({make: right}))
    def try_it(call):
        arguments = written_out(call[1])

        async def handler(job: Job[Any]) -> None: ...

        async def made() -> None:
            try:
                maker = getattr(bench.app, make)(**arguments)
                if make == "job":
                    maker(handler)
                    bench.app.tasks.clear()
            except InvalidArgument as error:
                assert any(name in str(error).replace(" ", "_") for name in [*arguments, "DSN"])

        bench.run(made())

    try_it()


def test_a_payload_too_deep_for_python_hides_no_other_job_and_keeps_no_worker_from_starting(bench):
    deep = "[" * 5_000 + "]" * 5_000

    async def run() -> None:
        ran = []

        @bench.app.job("t", queue="deep")
        async def handler(job: Job[Any]) -> None:
            ran.append(job.id)

        await bench.conn.execute("select jobs_enqueue('t', $1, queue => 'deep')", deep)
        await bench.conn.execute("select jobs_claim('w', '{deep}')")
        good = await handler.enqueue(1)
        assert good.id in [job.id for job in await JobService(bench.conn).get_pending()]
        # The worker begins by recovering the jobs of an earlier worker with its name.
        await bench.app.worker(name="w", queues=["deep"]).run(until_empty=True)
        assert ran == [good.id]
        [error] = await bench.conn.fetch("select error from jobs where payload = $1", deep)
        assert error["error"].startswith("the payload is not valid")

    bench.run(run())


def test_a_payload_of_50_megabytes_is_stored_and_read_back(bench):
    text = "é" * 25_000_000

    async def there_and_back() -> bool:
        job = await bench.app.enqueue("t", {"text": text}, conn=bench.conn)
        again = await JobService(bench.conn).get(job.id)
        return bool(again.payload == {"text": text})

    assert bench.run(there_and_back())
