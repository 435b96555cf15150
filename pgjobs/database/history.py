"""How many attempts ended, and how long they took."""

from collections.abc import Sequence
from datetime import timedelta

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

    async def minutes(self, within: timedelta) -> Sequence[Row]:
        """Counts the attempts that ended in each whole minute of the last ``within``.

        ``starts_at``, ``completed``, ``failed``, ``cancelled``, and ``retried``, which has those
        that were lost, too. Minutes in which none ended have a row.
        """
        return await self._rows(
            """select minute as starts_at,
            coalesce(sum(h.jobs) filter (where h.outcome = 'completed'), 0)::bigint as completed,
            coalesce(sum(h.jobs) filter (where h.outcome = 'failed'), 0)::bigint as failed,
            coalesce(sum(h.jobs) filter (where h.outcome = 'cancelled'), 0)::bigint as cancelled,
            coalesce(sum(h.jobs) filter (where h.outcome in ('retried', 'lost')), 0)::bigint
                as retried
            from generate_series(
                date_trunc('minute', statement_timestamp() - $1::interval),
                statement_timestamp(), interval '1 minute') minute
            left join {schema}.jobs_history h
                on h.span = interval '1 minute' and h.starts_at = minute
                -- Read from the index, whatever the series is estimated to be.
                and h.starts_at >= date_trunc('minute', statement_timestamp() - $1::interval)
            group by minute order by minute""",
            within,
        )

    async def recent_ends(
        self, *, by_type: bool = False, within: timedelta = timedelta(hours=1)
    ) -> Sequence[Row]:
        """Returns how attempts ended lately, by ``name``: of the queue, or of the type.

        ``attempts``, and how many of them were ``bad``: failed, retried or lost; ``wait_p50_s``,
        ``wait_p95_s``, ``run_p50_s``, ``run_p95_s``. ``since``: a busy hour is not read to its
        begin. The row without a name sums up what has no row of its own in the history.
        """
        return await self._rows(
            """select name, since, attempts, bad, wait_p50_s, wait_p95_s, run_p50_s, run_p95_s
            from {schema}._jobs_recent_ends($1::boolean, $2::interval)""",
            by_type, within,
        )
