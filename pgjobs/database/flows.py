"""Flows: jobs that wait for other jobs, and batches."""

from collections.abc import Sequence

from pgjobs.database.statements import Statements
from pgjobs.errors import JobNotFound
from pgjobs.job.job import Row


class Flows(Statements):
    """Jobs that wait for other jobs, and batches."""

    __slots__ = ()

    async def batch_close(self, batch_id: int) -> int:
        """Nobody outside adds further members; returns the callback's id."""
        rows = await self._rows("select id from {schema}.jobs_batch_close($1::bigint)", batch_id)
        return int(rows[0]["id"])

    async def batch_counts(self, batch_id: int) -> Row:
        """How many members a batch has, and what became of them; raises ``JobNotFound``."""
        rows = await self._rows(
            """select batch_id as id, total, completed, failed, cancelled, open as is_open
            from {schema}.jobs_batches where batch_id = $1::bigint""",
            batch_id,
        )
        if not rows:
            raise JobNotFound(f"there is no batch {batch_id}")
        return rows[0]

    async def parents(self, job_id: int) -> Sequence[Row]:
        """What the job waits or has waited for: job_id, job_type, status, result, error."""
        return await self._rows(
            """select job_id, job_type, status, result::text, error
            from {schema}.jobs_parents($1::bigint)""",
            job_id,
        )

    async def flow_attach(self, max_edges: int) -> int:
        """Has new edges counted by the ends of their parents; returns how many."""
        rows = await self._rows(
            "select {schema}._jobs_flow_attach($1::int) as attached", max_edges
        )
        return int(rows[0]["attached"])

    async def flow_pending(self) -> bool:
        """Whether ends of parents have still to be counted."""
        rows = await self._rows("select {schema}._jobs_flow_pending() as pending")
        return bool(rows[0]["pending"])

    async def flow_resolve(self, max_children: int) -> int:
        """Counts the ended parents of jobs, and lets go who waits no more; returns how many."""
        rows = await self._rows(
            "select {schema}._jobs_flow_resolve($1::int) as counted", max_children
        )
        return int(rows[0]["counted"])
