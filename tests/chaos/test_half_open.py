"""Half-open connections: no answer comes back, and neither side has closed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from chaos.load import Size, add, begun, counted, ended
from chaos.processes import Processes, eventually
from chaos.proxy import Proxy
from chaos.report import Note

NOTICED = 15  # seconds
NEWEST = """select max(backend_start) from pg_stat_activity
    where datname = current_database() and application_name like 'pgjobs % ' || $1"""


@pytest.fixture
async def proxy(pgjobs_dsn: str, workers: Processes, ledger: Any) -> AsyncIterator[Proxy]:
    """A proxy before the test's database, and a worker that already works through it."""
    async with Proxy(pgjobs_dsn) as made:
        workers.start(dsn=made.dsn)
        await add(ledger, 5, 0)
        await begun(ledger, 5)
        await ended(ledger)
        yield made


@pytest.mark.fault(
    5,
    "a half-open LISTEN connection of an idle worker: a proxy swallows every byte",
    "noticed within 15 s; jobs go on",
)
async def test_a_half_open_listen_connection_is_noticed_and_replaced(
    ledger: Any, proxy: Proxy, size: Size, figures: Note
) -> None:
    assert proxy.swallow("listen") == 1
    await add(ledger, size.jobs, 0)
    took = await begun(ledger, 6)
    await ended(ledger)
    # The old session still holds the worker's name at the server; jobs go on meanwhile.
    for number in range(3):
        await add(ledger, 1, 0)
        assert await begun(ledger, size.jobs + 6 + number) < 1
    await ended(ledger)
    counts = await counted(ledger, size.jobs + 8)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice, seconds=took,
            what="until jobs are run")
    assert (counts.lost, counts.twice, counts.retries, counts.crashes) == (0, 0, 0, 0)
    assert took < NOTICED


@pytest.mark.parametrize(
    ("which", "what"), [("claim", "every answer"), ("settle", "every byte")]
)
@pytest.mark.fault(
    5,
    "a half-open `{which}` connection of a busy worker: the proxy swallows {what}",
    "noticed within 15 s; jobs go on",
)
async def test_a_connection_that_no_longer_answers_is_replaced_and_no_job_is_lost(
    ledger: Any, proxy: Proxy, size: Size, figures: Note, which: str, what: str
) -> None:
    await add(ledger, size.jobs, 0.02)
    await begun(ledger, size.jobs // 5)
    began = await ledger.fetchval(NEWEST, which)
    # Without the answer to a claim the worker holds jobs that it does not know.
    assert proxy.swallow(which, only_answers=what == "every answer") == 1
    replaced = f"select ({NEWEST}) > $2"
    took = await eventually(lambda: ledger.fetchval(replaced, which, began), "a new connection")
    await ended(ledger)
    counts = await counted(ledger, size.jobs + 5)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice, seconds=took,
            what="until the connection is replaced")
    assert (counts.lost, counts.twice, counts.retries, counts.crashes) == (0, 0, 0, 0)
    assert took < NOTICED
