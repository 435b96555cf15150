"""What an app declares beside its handlers: the schedules that enqueue their jobs."""

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast

from pgjobs.errors import InvalidArgument
from pgjobs.handler.task import Task
from pgjobs.job.payload import NO_PAYLOAD
from pgjobs.producer import arguments
from pgjobs.producer.declared import Declared
from pgjobs.producer.schedule import Missed, Overlap, declared

T = TypeVar("T", bound=Task[Any, Any])


class Schedules:
    """The part of an app that declares schedules."""

    def __init__(self) -> None:
        super().__init__()
        self.schedules: dict[str, Declared] = {}
        # The database keeps which app declared a schedule: only that one says that it is gone.
        self.declared_in = _module_of_app(self)

    def schedule(
        self,
        cron: str | None = None,
        *,
        every: timedelta | None = None,
        timezone: str = "UTC",
        name: str | None = None,
        payload: object = NO_PAYLOAD,
        missed: Missed = "latest",
        missed_within: timedelta | None = None,
        overlap: Overlap = "skip",
        starts_at: datetime | None = None,
        ends_at: datetime | None = None,
    ) -> Callable[[T], T]:
        """Enqueues jobs of the handler below by the clock: stands above ``@app.job``.

        ``cron``: five fields, or ``@daily`` and its kin, by the clocks of ``timezone``; or
        ``every``, at least a second. ``name``: left out, it is the job type. ``missed``: which
        ticks are made up for after no worker ran; none older than ``missed_within``. ``overlap``:
        what a tick does while the last job has not ended. ``queue`` and other settings of the jobs
        are those of the handler. A worker that starts writes what is new or was changed in code.
        Raises ``InvalidArgument``; the expression and the time zone are checked by the database.
        """
        moments = {
            "cron": cron, "every": every, "timezone": timezone, "missed": missed,
            "missed_within": missed_within, "overlap": overlap, "starts_at": starts_at,
            "ends_at": ends_at,
        }

        def declare(task: T) -> T:
            if not isinstance(task, Task) or cast(object, task.app) is not self:
                raise InvalidArgument(
                    "write @app.schedule(...) above @app.job(...) of the same app"
                )
            text = None if payload is NO_PAYLOAD else task.encode(payload)
            given = task.arguments({}) | task.own_arguments(text or "{}")
            made = declared(arguments.as_item(given), text, name, moments)
            if made.name in self.schedules:
                raise InvalidArgument(
                    f"there is a schedule {made.name} already: give this one another name, by"
                    " @app.schedule(..., name=...)"
                )
            self.schedules[made.name] = made
            return task

        if callable(cron):
            raise InvalidArgument('write when: @app.schedule("0 3 * * *")')
        return declare


def _module_of_app(app: object) -> str:
    """The module whose code made the app; a script is called as if it were imported."""
    frame: FrameType | None = sys._getframe(1)
    # `App[State]()` is called by typing.
    while frame is not None and (
        frame.f_locals.get("self") is app or frame.f_globals.get("__name__") == "typing"
    ):
        frame = frame.f_back
    names: dict[str, Any] = {} if frame is None else frame.f_globals
    module = str(names.get("__name__", "unknown"))
    if module != "__main__":
        return module
    spec = names.get("__spec__")
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    return Path(str(names.get("__file__", "__main__"))).stem
