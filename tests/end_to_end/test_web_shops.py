"""The examples of Flask and Django under gunicorn, with real processes and a server that restarts.

Each job is committed with its order, or not at all, and one request id is in all the logs.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

import pgjobs
from pgjobs.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[2]
REQUESTS = 1_000
RESTART_AFTER = 400
AT_ONCE = 24
SHOPS = {
    "flask": ("examples.flask_shop:web", "examples.flask_shop:app", "orders"),
    "django": (
        "examples.django_shop.wsgi", "examples.django_shop.worker:app", "django_shop_order"
    ),
}


@pytest.fixture
def server(pytestconfig: pytest.Config) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(bin=pytestconfig.getoption("--pg-bin")) as server:
        pgjobs.migrate(server.dsn)
        yield server


class Shop:
    """A web server and a worker, with their logs."""

    def __init__(self, name: str, dsn: str, folder: Path) -> None:
        web, app, self.table = SHOPS[name]
        self._folder = folder
        self._env = {**os.environ, "PGJOBS_DSN": dsn, "PYTHONPATH": str(ROOT)}
        self._processes: list[subprocess.Popen[bytes]] = []
        if name == "django":
            self._start("migrate", "django", "migrate", "--settings=examples.django_shop.settings")
            assert self._processes.pop().wait(60) == 0, self.log("migrate")
        self._start(
            "web", "gunicorn", "--preload", "-w", "2", "-k", "gthread", "--threads", "8",
            "--no-control-socket", "--bind", f"unix:{folder / 'socket'}", web,
        )
        self._start("worker", "pgjobs", "worker", app)

    def _start(self, log: str, *arguments: str) -> None:
        with (self._folder / log).open("wb") as file:
            self._processes.append(subprocess.Popen(
                [sys.executable, "-m", *arguments], cwd=ROOT, env=self._env, stdout=file,
                stderr=subprocess.STDOUT,
            ))

    def log(self, name: str) -> str:
        return (self._folder / name).read_text()

    def client(self) -> httpx.AsyncClient:
        # gunicorn may close an idle connection just when a request is sent on it.
        limits = httpx.Limits(max_keepalive_connections=0)
        transport = httpx.AsyncHTTPTransport(
            uds=str(self._folder / "socket"), retries=10, limits=limits
        )
        return httpx.AsyncClient(transport=transport, base_url="http://shop", timeout=30)

    def stop(self) -> list[int]:
        """Ends the processes as a deploy does; returns their exit codes."""
        for process in self._processes:
            process.terminate()
        try:
            return [process.wait(20) for process in self._processes]
        finally:
            for process in self._processes:
                process.kill()


@pytest.mark.parametrize("name", SHOPS)
async def test_jobs_equal_committed_orders_also_if_the_server_restarts_amid_the_requests(
    name: str, server: EmbeddedPostgres, tmp_path: Path
) -> None:
    shop = Shop(name, server.dsn, tmp_path)
    try:
        async with asyncio.timeout(120):
            await _check(shop, server)
    except BaseException:
        shop.stop()
        raise
    assert shop.stop() == [0, 0], shop.log("worker")


async def _check(shop: Shop, server: EmbeddedPostgres) -> None:
    statuses, failed = await _order(shop, server)
    assert sorted(statuses) == [202] * (REQUESTS * 9 // 10) + [403] * (REQUESTS // 10)
    assert failed, "no request met the restart"

    conn = await asyncpg.connect(server.dsn)
    try:
        async with asyncio.timeout(30):
            while await conn.fetchval("select count(*) from jobs where status <> 'completed'"):
                await asyncio.sleep(0.1)
        orders = await conn.fetch(f"select id from {shop.table} order by id")
        jobs = await conn.fetch(
            "select reference_id, headers ->> 'request_id' from jobs order by 1"
        )
        refused = await conn.fetchval(
            f"select count(*) from {shop.table} where item = 'on a refused card'"
        )
        backends = await conn.fetchval(
            "select count(*) from pg_stat_activity where application_name like 'pgjobs % wait'"
        )
    finally:
        await conn.close()
    assert [row[0] for row in jobs] == [row[0] for row in orders]
    assert refused == 0
    # A request whose COMMIT had no answer was sent again, and may have made two orders.
    assert 0 <= len(orders) - REQUESTS * 9 // 10 <= failed
    assert 1 <= backends <= 2, "each web process that waited has one connection for it"

    of_jobs = {row[1] for row in jobs}
    assert of_jobs == {f"r-{n}" for n in range(REQUESTS) if n % 10}
    web, worker = shop.log("web").splitlines(), shop.log("worker").splitlines()
    assert {line.split()[0] for line in web if "/orders: 202" in line} == of_jobs
    sent = [line for line in worker if "receipt of order" in line]
    assert {line.rpartition("[request_id=")[2].removesuffix("]") for line in sent} == of_jobs


async def _order(shop: Shop, server: EmbeddedPostgres) -> tuple[list[int], int]:
    """Sends all requests; returns the statuses, and how often a request had to be sent again."""
    statuses: list[int] = []
    failed = 0
    numbers = iter(range(REQUESTS))
    restart_now = asyncio.Event()

    async def buy(client: httpx.AsyncClient) -> None:
        nonlocal failed
        for number in numbers:
            form = {"item": "a plum", "card": "4242"}
            if number % 10 == 0:
                form = {"item": "on a refused card", "card": "refused"}
            while (answer := await client.post(
                "/orders", data=form, headers={"X-Request-Id": f"r-{number}"}
            )).status_code == 500:
                failed += 1
                await asyncio.sleep(0.2)
            statuses.append(answer.status_code)
            if len(statuses) == RESTART_AFTER:
                restart_now.set()
            if number % 100 == 1:
                added, outcome = answer.json(), {"status": "unknown"}
                # The restart may take longer than the view waits.
                while outcome["status"] in ("unknown", "pending", "processing"):
                    outcome = (await client.get(f"/jobs/{added['job']}")).json()
                assert outcome["result"] == f"receipt of order {added['order']}"

    async with shop.client() as client, asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(buy(client))
        await restart_now.wait()
        await asyncio.to_thread(server.restart, "immediate")
    return statuses, failed
