"""The connections of producers are cut all the time, also while a call waits for its answer."""

import asyncio
import itertools
import random
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from chaos.load import REFUSALS, Size
from chaos.report import Note

from pgjobs import App

PRODUCERS = 8
BATCH = 3
HOUR = timedelta(hours=1)
CUT = """select pg_terminate_backend(pid) from (
    select pid from pg_stat_activity
    where datname = current_database() and application_name like 'pgjobs %'
    order by random() limit 1) one"""
ROWS = "select (payload ->> 'call')::int as call, count(*) as rows from jobs group by 1"


class Calls:
    """Enqueues with a number in each payload, and notes how each call ended.

    ``answered``: calls whose statement had its answer from the server, so the commit too.
    """

    def __init__(self, app: App) -> None:
        self.expected: dict[int, int] = {}  # how many jobs each call adds
        self.returned: dict[int, str] = {}  # the kind of call
        self.raised: dict[int, BaseException] = {}
        self.answered: set[int] = set()
        self._app = app
        self._numbers: Iterator[int] = itertools.count()
        # With a delay or a key, or as a batch, jobs go through the pool; else through one
        # connection, where calls that come at once share a statement.
        self.kinds = {
            "plain": self._plain, "delay": self._delay, "key": self._key, "batch": self._batch,
        }

    async def make(self, until: float) -> None:
        """Calls in turn, in a random order of kinds, until the time is over."""
        while asyncio.get_running_loop().time() < until:
            number, kind = next(self._numbers), random.choice(list(self.kinds))
            self.expected[number] = BATCH if kind == "batch" else 1
            try:
                await self.kinds[kind](number)
            except REFUSALS as error:
                self.raised[number] = error
            else:
                self.returned[number] = kind

    async def _plain(self, number: int) -> None:
        await self._app.enqueue("work", {"call": number})

    async def _delay(self, number: int) -> None:
        await self._app.enqueue("work", {"call": number}, delay=HOUR)

    async def _key(self, number: int) -> None:
        await self._app.enqueue("work", {"call": number}, unique_key=str(number))

    async def _batch(self, number: int) -> None:
        delay = random.choice([None, HOUR])
        await self._app.enqueue_many("work", [{"call": number}] * BATCH, delay=delay)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Calls], None]:
    """watch(calls): notes the calls in a statement that the driver has got the answer to."""

    def begin(calls: Calls) -> None:
        fetch = asyncpg.Connection.fetch

        async def watched(self: Any, query: str, *args: Any, **options: Any) -> Any:
            rows = await fetch(self, query, *args, **options)
            if not self.is_in_transaction():
                found = re.findall(r'"call": ?(\d+)', " ".join(map(str, args)))
                calls.answered.update(map(int, found))
            return rows

        monkeypatch.setattr(asyncpg.Connection, "fetch", watched)

    return begin


@pytest.mark.fault(
    19,
    "pg_terminate_backend on the connections of an app, every few milliseconds for a minute, while"
    " 8 coroutines enqueue",
    "a call that returns has added its jobs, once; one that says it added none has added none;"
    " none raises after the server has acknowledged it",
)
async def test_each_call_of_a_producer_that_is_cut_says_what_it_did(
    ledger: Any, pgjobs_dsn: str, size: Size, figures: Note, watch: Callable[[Calls], None]
) -> None:
    cuts = 0
    async with App(pgjobs_dsn) as app, asyncio.timeout(size.seconds + 120):
        calls = Calls(app)
        watch(calls)
        until = asyncio.get_running_loop().time() + size.seconds
        async with asyncio.TaskGroup() as producers:
            for _ in range(PRODUCERS):
                producers.create_task(calls.make(until))
            while asyncio.get_running_loop().time() < until:
                cuts += bool(await ledger.fetchval(CUT))
                await asyncio.sleep(random.uniform(0, 0.01))
    rows = {row["call"]: row["rows"] for row in await ledger.fetch(ROWS)}
    wrong = {n for n in calls.returned if rows.get(n) != calls.expected[n]}
    untrue = {n for n in calls.raised if n in rows and not _may_exist(calls.raised[n])}
    parts = {n for n in calls.raised if rows.get(n, 0) not in (0, calls.expected[n])}
    late = calls.answered & set(calls.raised)
    figures(jobs=sum(calls.expected[n] for n in calls.returned), lost=len(wrong),
            seconds=size.seconds,
            what=f"long; {cuts:,} cuts; {len(calls.returned):,} calls returned,"
                 f" {len(calls.raised):,} raised ({len(late):,} of them acknowledged)")
    assert (wrong, untrue, parts) == (set(), set(), set())
    assert {n: calls.raised[n] for n in late} == {}
    assert calls.answered >= set(calls.returned)
    assert set(calls.returned.values()) == set(calls.kinds)
    assert calls.raised


def _may_exist(error: BaseException) -> bool:
    """Whether the error leaves open that the job was added."""
    return bool(getattr(error, "may_exist", True))
