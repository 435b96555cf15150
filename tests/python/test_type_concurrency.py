"""``@app.job(concurrency=2)``: how many jobs of a type one worker runs at once."""

import asyncio
import time
from collections import Counter

import pytest

from pgjobs import App, InvalidArgument

ENDED = "select count(*) from jobs where status = 'completed' and job_type = $1"


class Gates:
    """Handlers that wait until ``go`` is set, and count how many of each type run."""

    def __init__(self):
        self.go = asyncio.Event()
        self.running = Counter()
        self.most = Counter()

    async def __call__(self, job):
        self.running[job.job_type] += 1
        self.most[job.job_type] = max(self.most[job.job_type], self.running[job.job_type])
        await self.go.wait()
        await asyncio.sleep(0)
        self.running[job.job_type] -= 1


@pytest.fixture
def gates():
    return Gates()


async def test_a_worker_holds_no_more_jobs_of_a_type_than_its_concurrency(
    app, conn, gates, working, eventually
):
    app.job("few", concurrency=2)(gates)
    app.job("many")(gates)
    await app.enqueue_many("few", [{}] * 30)
    await app.enqueue_many("many", [{}] * 30)
    async with working(concurrency=20):
        await eventually(lambda: gates.running == {"few": 2, "many": 18})
        held = "select count(*) from jobs where status = 'processing' and job_type = 'few'"
        assert await conn.fetchval(held) == 2
        gates.go.set()
        for job_type in "few", "many":
            await eventually(lambda t=job_type: conn.fetchval(ENDED + " having count(*) = 30", t))
    assert gates.most == {"few": 2, "many": 18}


async def test_other_types_run_at_once_while_one_is_full(app, conn, gates, working, eventually):
    app.job("few", concurrency=1)(gates)

    @app.job("quick")
    async def quick(job):
        pass

    await app.enqueue_many("few", [{}] * 10)
    async with working():
        await eventually(lambda: gates.running["few"] == 1)
        began = time.monotonic()
        for _ in range(5):
            await app.enqueue("quick")
        await eventually(lambda: conn.fetchval(ENDED + " having count(*) = 5", "quick"))
        assert time.monotonic() - began < 2
        gates.go.set()
        await eventually(lambda: conn.fetchval(ENDED + " having count(*) = 10", "few"))


async def test_types_that_are_all_full_wait_for_their_own_places(
    app, gates, working, eventually, conn
):
    app.job("a", concurrency=1)(gates)
    app.job("b", concurrency=2)(gates)
    for job_type in "ab":
        await app.enqueue_many(job_type, [{}] * 5)
    async with working():
        await eventually(lambda: gates.running == {"a": 1, "b": 2})
        gates.go.set()
        for job_type in "ab":
            await eventually(lambda t=job_type: conn.fetchval(ENDED + " having count(*) = 5", t))
    assert gates.most == {"a": 1, "b": 2}


async def test_each_worker_has_places_of_its_own(app, pgjobs_dsn, gates, working, eventually):
    apps = [app, App(dsn=pgjobs_dsn)]
    for one in apps:
        one.job("few", concurrency=1)(gates)
        one.job("other")(gates)
    async with apps[1], working(), working(apps[1]):
        await app.enqueue_many("few", [{}] * 5)
        await eventually(lambda: gates.running["few"] == 2)
        gates.go.set()


async def test_few_places_of_one_type_make_no_small_claims_of_the_others(app, conn, monkeypatch):
    asked = []

    @app.job("few", concurrency=1)
    async def few(job):
        pass

    @app.job("many")
    async def many(job):
        pass

    await app.enqueue_many("many", [{}] * 400)
    await app.enqueue("few")
    worker = app.worker()
    claim = worker._claimer._database.claim

    async def count(*arguments, **options):
        asked.append(arguments[2])
        return await claim(*arguments, **options)

    monkeypatch.setattr(type(worker._claimer._database), "claim", staticmethod(count))
    await worker.run(until_empty=True)
    assert await conn.fetchval(ENDED, "many") == 400
    assert await conn.fetchval(ENDED, "few") == 1
    assert len(asked) < 40


async def test_a_plain_function_may_have_a_concurrency_too(app, conn):
    running, most = [], []

    @app.job("plain", concurrency=2)
    def plain(job):
        running.append(job.id)
        most.append(len(running))
        time.sleep(0.02)
        running.remove(job.id)

    @app.job("async")
    async def coroutine(job):
        pass

    await app.enqueue_many("plain", [{}] * 12)
    await app.enqueue_many("async", [{}] * 12)
    await app.worker(plain_concurrency=5).run(until_empty=True)
    assert max(most) == 2
    assert await conn.fetchval("select count(*) from jobs where status = 'completed'") == 24


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, "2"])
def test_a_concurrency_that_is_none_is_refused(concurrency):
    with pytest.raises(InvalidArgument, match="concurrency must be 1 or more"):
        App().job("t", concurrency=concurrency)
