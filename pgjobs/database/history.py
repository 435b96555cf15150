"""How many attempts ended, and how long they took."""

from collections.abc import Sequence

from pgjobs.database.statements import Statements
from pgjobs.job.job import Row


class History(Statements):
    """How many attempts ended, and how long they took."""

    __slots__ = ()

    async def note_ends(self, ends: str) -> None:
        """Notes how the attempts of a worker have ended; ``ends``: see ``_jobs_ends.sql``."""
        await self._rows("select {schema}._jobs_note_ends($1::text::json)", ends)

    async def totals(self) -> Sequence[Row]:
        """Returns ``queue``, ``job_type``, ``outcome`` and ``jobs`` since the installation.

        A row without queue and job_type sums up what is beyond the 1,000th set of labels;
        ``sets``: how many there are, at least.
        """
        return await self._rows(
            "select queue, job_type, outcome, jobs, sets from {schema}._jobs_totals()"
        )

    async def durations(self) -> Sequence[Row]:
        """Returns ``queue``, ``job_type``, ``waited_s``, ``waits``, ``ran_s`` and ``runs``.

        A row without queue and job_type sums up all types but the hundred busiest.
        """
        return await self._rows(
            """select queue, job_type, waited_s, waits, ran_s, runs from {schema}.jobs_durations
            order by queue, job_type"""
        )

    async def schedules_late(self) -> Sequence[Row]:
        """Returns ``name`` and ``late_s`` of the schedules that have a next tick."""
        return await self._rows(
            """select name, greatest(0, extract(epoch from clock_timestamp() - next_at))::float8
                as late_s
            from {schema}.jobs_schedule_list
            where paused_at is null and next_at is not null
            order by name"""
        )
