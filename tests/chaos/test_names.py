"""Two workers of one name, and a deploy that starts the new one while the old one drains."""

import asyncio
import signal
from typing import Any

import pytest
from chaos.load import Size, add, begun, counted, ended
from chaos.processes import Processes, eventually
from chaos.report import Note


@pytest.mark.fault(
    13,
    "a second worker with the name of a living one, also while the old one drains in a rolling"
    " deploy",
    "the second worker is refused, and no running job is taken over",
)
async def test_a_second_worker_with_the_name_of_a_living_one_is_refused(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    old = workers.start(name="same")
    await add(ledger, size.jobs - 20, 0.02)
    await add(ledger, 20, 8)  # for longer than a refused worker takes to start
    await begun(ledger, 50)
    second = workers.start(name="same")
    assert await asyncio.to_thread(second.wait, 30) != 0
    assert "a living worker is named same" in second.said

    # When the short jobs have ended, the old worker holds only the long ones. It is told to stop.
    await begun(ledger, size.jobs)
    drains = "select count(*) = 20 from jobs where status = 'processing'"
    await eventually(lambda: ledger.fetchval(drains), "only the long jobs run")
    await add(ledger, size.jobs // 10, 0.02)
    old.send_signal(signal.SIGTERM)
    new, refused = workers.start(name="same"), 0
    while old.poll() is None:
        if new.poll() is not None:
            refused += 1
            assert new.returncode != 0
            new = workers.start(name="same")
        await asyncio.sleep(0.05)
    stopped_at = await ledger.fetchval("select clock_timestamp()")
    assert old.returncode == 0

    async def works() -> bool:
        nonlocal new
        if new.poll() is not None:  # started a moment before the old one had left
            new = workers.start(name="same")
        query = "select count(*) > 0 from ledger where pid = $1"
        return bool(await ledger.fetchval(query, new.pid))

    await eventually(works, "the new worker works")
    await ended(ledger)
    counts = await counted(ledger, size.jobs + size.jobs // 10)
    took = await ledger.fetchval(
        "select extract(epoch from min(at) - $2)::float from ledger where pid = $1",
        new.pid, stopped_at,
    )
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice, seconds=took,
            what=f"from the old worker's exit to a run of the new one; {refused + 1} refused")
    assert (counts.lost, counts.twice, counts.retries, counts.crashes) == (0, 0, 0, 0)
    assert refused >= 1
