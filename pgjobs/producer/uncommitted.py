"""The app of a job that a transaction of the caller's has added."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from pgjobs.job.attempt import Attempt
from pgjobs.job.flow import Parent
from pgjobs.job.job import Job, Row, Source


class Uncommitted:
    """Stands for the app of such a job: nobody can wait for the job before the commit.

    ``is_open`` tells whether the connection is in that transaction; None: nobody knows.
    """

    def __init__(self, app: Source, is_open: Callable[[], bool] | None) -> None:
        self._app = app
        self.is_open = is_open

    async def get(self, job_id: int, *, conn: Any = None) -> Job[Any, Any]:
        """As the app's."""
        return await self._app.get(job_id, conn=conn)

    async def end_of(self, job: Job[Any], within: timedelta | None) -> Row:
        """As the app's."""
        return await self._app.end_of(job, within)

    async def history(self, job_id: int) -> list[Attempt]:
        """As the app's."""
        return await self._app.history(job_id)

    async def parents(self, job_id: int) -> list[Parent]:
        """As the app's."""
        return await self._app.parents(job_id)

    def result_of(self, job: Job[Any], text: str | None) -> Any:
        """As the app's."""
        return self._app.result_of(job, text)
