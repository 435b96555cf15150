"""Odd payloads, exceptions, results and rows, with ordinary jobs beside them: only the odd fail."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
from hypothesis import given
from hypothesis import strategies as st
from model.profile import bounded
from pydantic import BaseModel, field_validator

from pgjobs import App, Cancel, Fail, RunningJob
from pgjobs.job.backoff import Backoff

SECOND = timedelta(seconds=1)
NOW = Backoff.fixed(timedelta(0))


class Liar(Exception):
    """Nothing that a formatter asks it gives an answer."""

    def __str__(self) -> str:
        raise KeyboardInterrupt("in __str__")

    __repr__ = __str__

    @property
    def __notes__(self) -> list[str]:
        raise SystemExit("in __notes__")


def chained() -> BaseException:
    first = error = ValueError("one of many")
    for _ in range(10_000):
        error.__cause__ = KeyError("before")
        error = error.__cause__
    return first


# Made anew for each run, since a traceback grows at each raise.
ERRORS: dict[str, Callable[[], BaseException]] = {
    "ordinary": lambda: ValueError("no"),
    "keyboard": KeyboardInterrupt,
    "exit": lambda: SystemExit(3),
    "group": lambda: BaseExceptionGroup("g", [KeyboardInterrupt(), SystemExit(), ValueError()]),
    "cancelled": asyncio.CancelledError,
    "generator": GeneratorExit,
    "stop": StopIteration,
    "stop async": StopAsyncIteration,
    "recursion": RecursionError,
    "memory": MemoryError,
    "timeout": TimeoutError,
    "liar": Liar,
    "fail liar": lambda: Fail(Liar()),
    "cancel liar": lambda: Cancel(Liar()),
    "chain": chained,
    "surrogate": lambda: ValueError("\ud800\0"),
    "connection": lambda: asyncpg.InterfaceError("not ours"),
    "server": lambda: asyncpg.PostgresConnectionError("not ours"),
    "large": lambda: ValueError("x" * 3_000_000),
}
CANCELS = {"cancel liar"}


RESULTS: dict[str, Callable[[], object]] = {
    "object": object, "nan": lambda: float("nan"), "null": lambda: "\0",
    "surrogate": lambda: "\ud800", "bytes": lambda: b"\xff", "type": lambda: int,
    "set": lambda: {object()}, "liar": Liar, "generator": lambda: (1 / 0 for _ in range(2)),
}


class Picky(BaseModel):
    """Its validator raises what its payload names."""

    how: str

    @field_validator("how")
    @classmethod
    def _raise(cls, how: str) -> str:
        raise ERRORS[how]()  # noqa: RSE102 - it is made here


# As somebody writes them by hand; each of these jobs must fail, and none of the others.
ROWS = {
    "payload": "insert into jobs (job_type, payload) values ('picky', '[1]')",
    "null": "insert into jobs (job_type, payload) values ('picky', 'null')",
    "number": "insert into jobs (job_type, payload) values ('picky', '1e400')",
    "deep": """insert into jobs (job_type, payload)
        values ('picky', (repeat('[', 3000) || repeat(']', 3000))::jsonb)""",
    "backoff": """insert into jobs (job_type, payload, backoff, max_retries)
        values ('picky', '{}', array['100 years'::interval], 32767)""",
}


@dataclass(frozen=True)
class Odd:
    """One odd job: where its oddness is, and which."""

    where: str
    which: str
    is_plain: bool
    retries: int


odd_jobs = st.lists(
    st.builds(
        Odd, where=st.just("error"), which=st.sampled_from(list(ERRORS)), is_plain=st.booleans(),
        retries=st.integers(0, 2),
    )
    | st.builds(
        Odd, where=st.just("result"), which=st.sampled_from(list(RESULTS)), is_plain=st.booleans(),
        retries=st.integers(0, 2),
    )
    | st.builds(
        Odd, where=st.just("validator"), which=st.sampled_from(list(ERRORS)),
        is_plain=st.booleans(), retries=st.integers(0, 2),
    )
    | st.builds(
        Odd, where=st.just("row"), which=st.sampled_from(list(ROWS)), is_plain=st.just(False),
        retries=st.just(0),
    ),
    min_size=1, max_size=8,
)


def act(payload: dict[str, str]) -> object:
    if payload["where"] == "error":
        raise ERRORS[payload["which"]]()  # noqa: RSE102
    if payload["where"] == "result":
        return RESULTS[payload["which"]]()
    return None


def make_app(dsn: str, began: Counter[int]) -> App:
    app = App(dsn=dsn)

    @app.job("async")
    async def run(job: RunningJob[Any]) -> object:
        began[job.id] += 1
        return act(job.payload)

    @app.job("plain")
    def run_plain(job: RunningJob[Any]) -> object:
        began[job.id] += 1
        return act(job.payload)

    @app.job("picky")
    async def picky(job: RunningJob[Picky]) -> None:
        raise AssertionError("its payload is never valid")

    @app.job("picky plain")
    def picky_plain(job: RunningJob[Picky]) -> None:
        raise AssertionError("its payload is never valid")

    return app


async def enqueue(app: App, conn: Any, odd: Odd) -> int:
    if odd.where == "row":
        found: int = await conn.fetchval(f"{ROWS[odd.which]} returning id")
        return found
    options: Any = {"max_retries": odd.retries, "backoff": NOW}
    if odd.where == "validator":
        kind = "picky plain" if odd.is_plain else "picky"
        # Not by `enqueue`, which would read the payload.
        [job_id] = await app.enqueue_many(kind, [{"how": odd.which}], **options)
        return job_id
    kind = "plain" if odd.is_plain else "async"
    return (await app.enqueue(kind, {"where": odd.where, "which": odd.which}, **options)).id


@bounded(25, long=500)
@given(odd_jobs)
def _only_the_odd_jobs_fail(dsn: str, odds: list[Odd]) -> None:
    asyncio.run(check(dsn, odds))


async def check(dsn: str, odds: list[Odd]) -> None:
    began: Counter[int] = Counter()
    async with make_app(dsn, began) as app:
        conn = await app.pool()
        await conn.execute("delete from jobs")
        ordinary, ids = [], []
        for odd in odds:
            kind = "plain" if len(ids) % 2 else "async"
            ordinary += await app.enqueue_many(kind, [{"where": "nowhere"}] * 2)
            ids.append(await enqueue(app, conn, odd))
        worker = app.worker(concurrency=4)
        async with asyncio.timeout(60):
            await worker.run(until_empty=True)
        rows = {row["id"]: row for row in await conn.fetch("select * from jobs")}
        for job_id in ordinary:
            row = rows[job_id]
            assert (row["status"], row["error"]) == ("completed", None)
            assert (began[job_id], row["retry_count"], row["crash_count"]) == (1, 0, 0)
        for job_id, odd in zip(ids, odds, strict=True):
            row = rows[job_id]
            assert row["status"] == ("cancelled" if ends_cancelled(odd) else "failed"), (odd, row)
            assert row["crash_count"] == 0
            # More where a job that was claimed ahead found no slot in time and was given back.
            assert row["attempt"] >= row["retry_count"] + 1
            # None where no handler could be called: its payload or its row cannot be read.
            assert began[job_id] in (0, row["retry_count"] + 1)
            assert row["error"]
            assert len(row["error"]) < 20_000


def ends_cancelled(odd: Odd) -> bool:
    return odd.where == "error" and odd.which in CANCELS


def test_only_the_odd_jobs_fail_and_the_worker_lives(pgjobs_dsn: str) -> None:
    _only_the_odd_jobs_fail(pgjobs_dsn)
