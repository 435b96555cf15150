"""The register of workers, their modes and their signals."""

from collections.abc import Sequence

from pgjobs.database.statements import Statements
from pgjobs.job.job import Row


class Workers(Statements):
    """The register of workers, their modes and their signals."""

    __slots__ = ()

    async def channel(self, topic: str) -> str:
        """Returns the NOTIFY channel of a topic: ``jobs``, ``jobs_cancel`` or ``jobs_turn``."""
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
        """Registers a worker on its LISTEN connection; raises ``WorkerNameTaken``."""
        await self._rows(
            """select worker from {schema}.jobs_worker_start(
            $1::text, $2::text[], $3::text[], $4::int, $5::text)""",
            worker, queues, job_types, concurrency, version,
        )

    async def worker_stop(self, worker: str) -> None:
        """Takes a worker off the register."""
        await self._rows("select {schema}.jobs_worker_stop($1::text)", worker)

    async def worker_tick(self, worker: str) -> Row | None:
        """Sends a tick; returns ``watch``, ``due_in``, ``peers``, or None if not registered."""
        rows = await self._rows(
            "select watch, due_in, peers from {schema}._jobs_worker_tick($1::text)", worker
        )
        return rows[0] if rows else None

    async def worker_listen(self, worker: str) -> bool:
        """Changes to mode listening; False: a producer relies on this worker's polling."""
        value: bool = await self._value(
            "select {schema}._jobs_worker_listen($1::text) as value", worker
        )
        return value

    async def worker_poll(self, worker: str) -> None:
        """Changes to mode polling: producers need not notify this worker."""
        await self._rows("select {schema}._jobs_worker_poll($1::text)", worker)

    async def signal(
        self,
        queues: Sequence[str],
        job_types: Sequence[str] | None = None,
        hops: int = 3,
    ) -> None:
        """Tells the workers of these queues to claim: one at once, the others soon."""
        await self._rows(
            "select {schema}._jobs_signal($1::text[], $2::text[], $3::int)", queues, job_types, hops
        )
