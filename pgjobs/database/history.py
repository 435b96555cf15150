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
