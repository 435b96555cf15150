"""Writes the schedules that the app declares, when a worker starts."""

import asyncio
import json
import logging
from collections.abc import Mapping

import asyncpg

from pgjobs.database import Database
from pgjobs.errors import InvalidArgument, SchemaMismatch
from pgjobs.job.job import Row
from pgjobs.producer.schedule import Schedule, as_json
from pgjobs.worker.outage import Outage

log = logging.getLogger("pgjobs.schedules")

DECLARE_AGAIN_AFTER_S = 1.0


class Declarations:
    """The schedules of the app, and the database that shall have them.

    Only what code changed is written (docs/decisions/0013-schedules.md), so that a change that an
    operator made survives, and two versions of the code do not undo each other.
    """

    def __init__(
        self,
        database: Database,
        outage: Outage,
        app: str,
        schedules: Mapping[str, Schedule],
    ) -> None:
        self._database = database
        self._outage = outage
        self._app = app
        self._schedules = as_json(schedules.values())
        self._is_empty = not schedules

    async def write(self) -> None:
        """Writes what is new or changed; raises ``InvalidArgument`` if a schedule is invalid."""
        while not self._is_empty:
            try:
                await self._outage.persist(self._write, "declaring schedules")
                return
            except (InvalidArgument, SchemaMismatch):
                raise
            except asyncpg.InsufficientPrivilegeError as error:
                log.warning(
                    "this worker may not write the schedules that its code declares (%s): let an"
                    " admin run pgjobs apply MODULE:APP after each deploy", error,
                )
                return
            except asyncpg.PostgresError as error:
                # A lock that another session holds, for example.
                pause_s = DECLARE_AGAIN_AFTER_S
                log.warning("declaring schedules: refused, again in %.1f s: %r", pause_s, error)
                await asyncio.sleep(pause_s)

    async def _write(self) -> None:
        rows = await self._database.schedules_diff(self._app, self._schedules)
        for row in rows:
            if row["verdict"] == "older":
                _warn_of_newer(row)
        if any(row["verdict"] in ("new", "changed") for row in rows):
            names = await self._database.schedules_declare(self._app, self._schedules)
            log.info("schedules were made or changed as the code declares: %s", ", ".join(names))


def _warn_of_newer(row: Row) -> None:
    log.warning(
        "schedule %s stays as other code declared it on %s: %s. This code declares what code"
        " declared before: %s. If this code is the newer one, run pgjobs apply MODULE:APP",
        row["name"], f"{row['declared_at']:%Y-%m-%d %H:%M:%S} UTC", _told(row["declared"]),
        _told(row["definition"]),
    )


def _told(definition: str) -> str:
    """Tells a definition in a line of the log."""
    arguments: dict[str, object] = json.loads(definition)
    return ", ".join(f"{name} {value}" for name, value in arguments.items() if name != "payload")
