"""The register of workers, their modes and their ticks."""

from collections.abc import Sequence
from datetime import timedelta

from pgjobs.database.statements import Statements
from pgjobs.job.job import Row

# A living worker ticks every ten seconds.
_HANGS_AFTER = timedelta(seconds=30)


def hangs(row: Row) -> bool:
    """Whether a worker, a row of ``workers``, has a session but does not tick."""
    return bool(row["mode"] != "gone" and row["unseen"] > _HANGS_AFTER)


class Workers(Statements):
    """The register of workers, their modes and their ticks."""

    __slots__ = ()

    async def channel(self, topic: str) -> str:
        """Returns the NOTIFY channel of a topic: ``jobs``, ``jobs_cancel`` or ``jobs_signal``."""
        value: str = await self._value("select {schema}.jobs_channel($1::text) as value", topic)
        return value

    async def worker_start(
        self,
        worker: str,
        queues: Sequence[str],
        job_types: Sequence[str] | None,
        concurrency: int,
        version: str | None = None,
    ) -> Row:
        """Registers a worker on its LISTEN connection; raises ``WorkerNameTaken``."""
        rows = await self._rows(
            """select started_at, listening_key from {schema}.jobs_worker_start(
            $1::text, $2::text[], $3::text[], $4::int, $5::text)""",
            worker, queues, job_types, concurrency, version,
        )
        return rows[0]

    async def worker_stop(self, worker: str) -> None:
        """Takes a worker off the register."""
        await self._rows("select {schema}.jobs_worker_stop($1::text)", worker)

    async def worker_tick(
        self, worker: str, is_full: bool = True, queues: Sequence[str] | None = None
    ) -> Row | None:
        """Sends a tick; None: the worker is not registered any more.

        Returns ``others_work``, ``may_be_silent``, ``due``, ``more``; ``recovered``: the text
        for ``as_recovered``; ``fires_in``: the time until a schedule is due; ``deletes``: whether
        a rule of retention is due, None if there is none; ``opens_in``: the time until the pause
        of a queue ends.
        """
        rows = await self._rows(
            """select others_work, may_be_silent, due, more, recovered::text,
                fires_at - ticked_at as fires_in, deletes,
                opens_at - ticked_at as opens_in
            from {schema}._jobs_worker_tick($1::text, $2::boolean, $3::text[])""",
            worker, is_full, queues,
        )
        return rows[0] if rows else None

    async def worker_watch(self, worker: str, floors: str | None, seen: str | None) -> Row | None:
        """Looks for jobs of silent producers; ``seen``: what the last call returned.

        Returns ``may_be_silent``, ``others_poll``, ``due``, ``seen``; None: not registered any
        more.
        """
        rows = await self._rows(
            """select may_be_silent, others_poll, due, seen_now::text as seen
            from {schema}._jobs_worker_watch($1::text, $2::text::jsonb, $3::text::jsonb)""",
            worker, floors, seen,
        )
        return rows[0] if rows else None

    async def worker_mode(self, worker: str, mode: str) -> bool:
        """Changes the worker's mode; False: two workers poll already."""
        value: bool = await self._value(
            "select {schema}._jobs_worker_mode($1::text, $2::text) as value", worker, mode
        )
        return value

    async def worker_help(self, worker: str, floors: str | None) -> None:
        """Signals listening workers if due jobs are left that this worker has no slots for."""
        await self._rows(
            "select {schema}._jobs_worker_help($1::text, $2::text::jsonb)", worker, floors
        )
