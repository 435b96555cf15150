"""The register of workers, their modes and their signals."""

from collections.abc import Sequence

from pgjobs.database.statements import Statements
from pgjobs.job.job import Row


class Workers(Statements):
    """The register of workers, their modes and their signals."""

    __slots__ = ()

    async def channel(self, topic: str) -> str:
        """The name of a NOTIFY channel of this schema: topic ``jobs`` or ``jobs_cancel``."""
        value: str = await self._value("select {schema}.jobs_channel($1::text) as value", topic)
        return value

    async def worker_start(
        self,
        worker: str,
        queues: Sequence[str],
        job_types: Sequence[str] | None,
        concurrency: int,
        version: str | None = None,
    ) -> None:
        """Registers a worker on its LISTEN connection; ``WorkerNameTaken`` if one lives."""
        await self._rows(
            """select worker from {schema}.jobs_worker_start(
            $1::text, $2::text[], $3::text[], $4::int, $5::text)""",
            worker, queues, job_types, concurrency, version,
        )

    async def worker_stop(self, worker: str) -> None:
        """Takes a worker off the register."""
        await self._rows("select {schema}.jobs_worker_stop($1::text)", worker)

    async def worker_tick(self, worker: str) -> Row | None:
        """Its regular look: ``watch``, ``due_in``, ``peers``; None: it is not registered."""
        rows = await self._rows(
            "select watch, due_in, peers from {schema}._jobs_worker_tick($1::text)", worker
        )
        return rows[0] if rows else None

    async def worker_listen(self, worker: str) -> bool:
        """The worker will wait for NOTIFY; False: a producer counts on it, look again first."""
        value: bool = await self._value(
            "select {schema}._jobs_worker_listen($1::text) as value", worker
        )
        return value

    async def worker_poll(self, worker: str) -> None:
        """The worker looks by itself; producers need not notify it."""
        await self._rows("select {schema}._jobs_worker_poll($1::text)", worker)

    async def signal(
        self,
        queues: Sequence[str],
        job_types: Sequence[str] | None = None,
        hops: int = 3,
    ) -> None:
        """Tells the workers of these queues to look: one at once, the others soon."""
        await self._rows(
            "select {schema}._jobs_signal($1::text[], $2::text[], $3::int)", queues, job_types, hops
        )
