"""Schedules: what the clock enqueues."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pgjobs.database.statements import JOB_COLUMNS, Statements
from pgjobs.job.job import Job, Row

_COLUMNS = """name, job_type, cron, every, timezone, payload::text, queue, priority, max_retries,
    backoff, group_key, missed, missed_within, overlap, starts_at, ends_at, paused_at, next_at,
    last_at, recent_job_ids, error, declared::text, created_at, updated_at"""


class Schedules(Statements):
    """What the clock enqueues."""

    __slots__ = ()

    async def cron_next(
        self, cron: str, after: datetime | None = None, timezone: str | None = None
    ) -> datetime | None:
        """Returns the next moment of a cron expression; None: none within 8 years."""
        moment: datetime | None = await self._value(
            "select {schema}.jobs_cron_next($1::text, $2::timestamptz, $3::text) as value",
            cron, after, timezone,
        )
        return moment

    async def schedule(
        self,
        name: str,
        job_type: str,
        cron: str | None = None,
        every: timedelta | None = None,
        timezone: str | None = None,
        payload: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        max_retries: int | None = None,
        backoff: Sequence[timedelta] | None = None,
        group_key: str | None = None,
        missed: str | None = None,
        missed_within: timedelta | None = None,
        overlap: str | None = None,
        starts_at: datetime | None = None,
        ends_at: datetime | None = None,
    ) -> Row:
        """Makes a schedule, or changes the one of that name, setting all at once."""
        rows = await self._manage(
            f"""select {_COLUMNS} from {{schema}}.jobs_schedule(
            $1::text, $2::text, $3::text, $4::interval, $5::text, $6::text::jsonb, $7::text,
            $8::int, $9::int, $10::interval[], $11::text, $12::text, $13::interval, $14::text,
            $15::timestamptz, $16::timestamptz)""",
            name, job_type, cron, every, timezone, payload, queue, priority, max_retries, backoff,
            group_key, missed, missed_within, overlap, starts_at, ends_at,
        )
        return rows[0]

    async def unschedule(self, name: str) -> Row:
        """Removes a schedule; its jobs stay."""
        rows = await self._manage(
            f"select {_COLUMNS} from {{schema}}.jobs_unschedule($1::text)", name
        )
        return rows[0]

    async def schedule_pause(self, name: str) -> Row:
        """Pauses a schedule: its ticks pass, and are not missed."""
        rows = await self._manage(
            f"select {_COLUMNS} from {{schema}}.jobs_schedule_pause($1::text)", name
        )
        return rows[0]

    async def schedule_resume(self, name: str) -> Row:
        """Lets a paused schedule fire again, from its next tick on."""
        rows = await self._manage(
            f"select {_COLUMNS} from {{schema}}.jobs_schedule_resume($1::text)", name
        )
        return rows[0]

    async def schedule_run(self, name: str) -> Job[Any]:
        """Adds a job of a schedule now; returns the job in its way, if they may not overlap."""
        return await self._managed(
            f"select {JOB_COLUMNS} from {{schema}}.jobs_schedule_run($1::text)", name
        )

    async def schedules_fire(self, max_schedules: int | None = None) -> list[Job[Any]]:
        """Enqueues the jobs of the schedules that are due."""
        return await self._jobs(
            f"select {JOB_COLUMNS} from {{schema}}.jobs_schedules_fire(coalesce($1::int, 100))",
            max_schedules,
        )

    async def worker_fire(self) -> Row:
        """Fires the schedules that are due; returns ``fired`` and ``fires_in``."""
        rows = await self._rows(
            "select fired, fires_at - fired_at as fires_in from {schema}._jobs_worker_fire()"
        )
        return rows[0]

    async def schedule_preview(
        self,
        name: str | None = None,
        cron: str | None = None,
        every: timedelta | None = None,
        timezone: str | None = None,
        ticks: int = 5,
    ) -> Sequence[Row]:
        """Returns the next ticks: ``at``, and ``local_time`` by the clocks of the time zone."""
        return await self._rows(
            """select at, local_time from {schema}.jobs_schedule_preview(
            $1::text, $2::text, $3::interval, $4::text, $5::int)""",
            name, cron, every, timezone, ticks,
        )

    async def schedules_diff(self, app: str, schedules: str) -> Sequence[Row]:
        """Compares what code declares, a JSON array, with what code declared last."""
        return await self._rows(
            """select name, verdict, definition::text, declared::text, declared_at,
                is_changed_by_hand, made::text, current::text
            from {schema}._jobs_schedules_diff($1::text, $2::text::jsonb)""",
            app, schedules,
        )

    async def schedules_declare(
        self, app: str, schedules: str, is_newest: bool = False
    ) -> list[str]:
        """Makes and changes schedules as code declares them; returns the names of those."""
        rows = await self._manage(
            """select name from {schema}._jobs_schedules_declare(
            $1::text, $2::text::jsonb, $3::boolean) name""",
            app, schedules, is_newest,
        )
        return [row["name"] for row in rows]
