"""Limits: how many jobs of a queue, or of a group, may run at once or start in a time."""

from collections.abc import Sequence
from datetime import timedelta

from pgjobs.database.statements import Statements
from pgjobs.job.job import Row

_LIMITS = """queue, max_running, max_running_per_group, rate_count, rate_period, group_rate_count,
    group_rate_period, in_order"""


class Limits(Statements):
    """How many jobs of a queue, or of a group, may run at once or start in a time."""

    __slots__ = ()

    async def limit(
        self,
        queue: str,
        max_running: int | None = None,
        max_running_per_group: int | None = None,
        rate_count: int | None = None,
        rate_period: timedelta | None = None,
        group_rate_count: int | None = None,
        group_rate_period: timedelta | None = None,
        in_order: bool | None = None,
    ) -> Row:
        """Sets all limits of a queue at once; None: no limit."""
        rows = await self._manage(
            f"""select {_LIMITS} from {{schema}}.jobs_limit($1::text, $2::int, $3::int, $4::int,
            $5::interval, $6::int, $7::interval, $8::boolean)""",
            queue, max_running, max_running_per_group, rate_count, rate_period, group_rate_count,
            group_rate_period, in_order,
        )
        return rows[0]

    async def limits_undeclare(self, queue: str) -> None:
        """Removes the limits of a queue that code has declared once."""
        await self._manage("select {schema}._jobs_limits_undeclare($1::text)", queue)

    async def limits_diff(self, app: str, limits: str) -> Sequence[Row]:
        """Compares what code declares, a JSON array, with what code declared last."""
        return await self._rows(
            """select name, verdict, definition::text, declared::text, declared_at,
                is_changed_by_hand, made::text, current::text
            from {schema}._jobs_limits_diff($1::text, $2::text::jsonb)""",
            app, limits,
        )

    async def limits_declare(self, app: str, limits: str, is_newest: bool = False) -> list[str]:
        """Sets limits as code declares them; returns the queues of those."""
        rows = await self._manage(
            """select name from {schema}._jobs_limits_declare(
            $1::text, $2::text::jsonb, $3::boolean) name""",
            app, limits, is_newest,
        )
        return [row["name"] for row in rows]
