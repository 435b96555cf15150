"""Fixtures of the tests of the SQL functions: jobs in any status, more sessions, listeners."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

Connection = asyncpg.Connection
MOMENTS = {
    "run_at", "lease_until", "created_at", "updated_at", "finished_at", "cancel_requested_at",
    "started_at", "expires_at",
}
MINUTE = timedelta(minutes=1)


@pytest.fixture
def job(conn: Connection) -> Callable[..., Awaitable[int]]:
    """Adds a job in any status and returns its id; a timedelta is counted from now."""

    async def add(status: str = "pending", **columns: Any) -> int:
        columns = {"job_type": "t", "status": status, **columns}
        if status == "processing":
            columns = {"worker": "me", "attempt": 1, "lease_until": MINUTE, **columns}
        elif status not in ("pending", "blocked"):
            columns = {"finished_at": timedelta(0), **columns}
        values = [
            f"clock_timestamp() + ${place}::interval" if name in MOMENTS else f"${place}"
            for place, name in enumerate(columns, 1)
        ]
        job_id: int = await conn.fetchval(
            f"insert into jobs ({', '.join(columns)}) values ({', '.join(values)}) returning id",
            *columns.values(),
        )
        return job_id

    return add


@pytest.fixture
def row(conn: Connection) -> Callable[[int], Awaitable[asyncpg.Record]]:
    """A job's row as it is now."""

    async def read(job_id: int) -> asyncpg.Record:
        return await conn.fetchrow("select * from jobs where id = $1", job_id)

    return read


@pytest.fixture
def ids(conn: Connection) -> Callable[..., Awaitable[list[int]]]:
    """The ids of a query's rows, in their order."""

    async def read(query: str, *args: Any) -> list[int]:
        return [record[0] for record in await conn.fetch(query, *args)]

    return read


@pytest.fixture
def blocked(
    connect: Callable[[], Awaitable[Connection]],
) -> Callable[[Connection], Awaitable[None]]:
    """Returns as soon as the given session waits for a lock."""

    async def wait(connection: Connection) -> None:
        observer = await connect()
        query = "select exists (select from pg_locks where pid = $1 and not granted)"
        async with asyncio.timeout(10):
            while not await observer.fetchval(query, connection.get_server_pid()):
                await asyncio.sleep(0.002)

    return wait


class Ears:
    """A session that listens on one channel and collects the payloads."""

    def __init__(self, connection: Connection, channel: str) -> None:
        self._connection = connection
        self._channel = channel
        self._heard: asyncio.Queue[str] = asyncio.Queue()

    async def listen(self) -> None:
        await self._connection.add_listener(
            self._channel, lambda _c, _pid, _channel, payload: self._heard.put_nowait(str(payload))
        )

    async def heard(self) -> list[str]:
        """The payloads since the last call. They arrive in the order of the commits."""
        await self._connection.execute("select pg_notify($1, 'mark')", self._channel)
        payloads: list[str] = []
        while (payload := await self._heard.get()) != "mark":
            payloads.append(payload)
        return payloads


@pytest.fixture
async def listen(
    connect: Callable[[], Awaitable[Connection]],
) -> Callable[[str], Awaitable[Ears]]:
    """Opens a session that listens on the given channel."""

    async def open_ears(channel: str) -> Ears:
        listening = Ears(await connect(), channel)
        await listening.listen()
        return listening

    return open_ears


@pytest.fixture
async def ears(listen: Callable[[str], Awaitable[Ears]]) -> Ears:
    """A session that listens on the channel of due jobs."""
    return await listen("public.jobs")


@pytest.fixture
async def signal_ears(listen: Callable[[str], Awaitable[Ears]]) -> Ears:
    """A session that listens on the channel of pgjobs' own workers."""
    return await listen("public.jobs_signal")


@pytest.fixture
def start_worker(
    connect: Callable[[], Awaitable[Connection]],
) -> Callable[..., Awaitable[Connection]]:
    """Starts a worker in this mode and returns its LISTEN session."""

    async def start(
        name: str = "w",
        mode: str = "listening",
        queues: Sequence[str] = ("default",),
        job_types: Sequence[str] | None = None,
    ) -> Connection:
        session = await connect()
        await session.execute(
            "select jobs_worker_start($1, $2, $3, 1)", name, list(queues), job_types
        )
        assert await session.fetchval("select _jobs_worker_mode($1, $2)", name, mode)
        return session

    return start


@pytest.fixture
async def cancel_ears(listen: Callable[[str], Awaitable[Ears]]) -> Ears:
    """A session that listens on the channel of jobs to be cancelled."""
    return await listen("public.jobs_cancel")


@pytest.fixture
def stranger(query: Callable[..., list[tuple[Any, ...]]]) -> Iterator[str]:
    """A role that may create objects in the schema, as everybody could before PostgreSQL 15."""
    query("create role pgjobs_stranger")
    query("grant create on schema public to pgjobs_stranger")
    yield "pgjobs_stranger"
    query("drop owned by pgjobs_stranger cascade")
    query("drop role pgjobs_stranger")
