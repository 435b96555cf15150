"""Writes what the app declares, when a worker starts: schedules, and how long jobs stay."""

import asyncio
import json
import logging
from collections.abc import Mapping

import asyncpg

from pgjobs.database import Database
from pgjobs.database.acting import acting
from pgjobs.errors import InvalidArgument, SchemaMismatch
from pgjobs.job.job import Row
from pgjobs.producer.declared import KINDS
from pgjobs.worker.description import one_line
from pgjobs.worker.outage import Outage

log = logging.getLogger("pgjobs.declarations")

DECLARE_AGAIN_AFTER_S = 1.0
NOTHING = "[]"


class Declarations:
    """What the app declares, and the database that shall have it.

    Only what code changed is written (docs/decisions/0013-schedules.md), so that a change that an
    operator made survives, and two versions of the code do not undo each other.
    """

    def __init__(
        self, database: Database, outage: Outage, app: str, declared: Mapping[str, str]
    ) -> None:
        self._database = database
        self._outage = outage
        self._app = app
        self._declared = {kind: text for kind, text in declared.items() if text != NOTHING}

    async def write(self) -> None:
        """Writes what is new or changed; raises ``InvalidArgument`` if something is invalid."""
        for kind in self._declared:
            if not await self._write_kind(kind):
                return

    async def _write_kind(self, kind: str) -> bool:
        """Writes one kind; False: this worker may not write."""
        while True:
            try:
                await self._outage.persist(lambda: self._write(kind), "declaring")
                return True
            except (InvalidArgument, SchemaMismatch):
                raise
            except asyncpg.InsufficientPrivilegeError as error:
                log.warning(
                    "this worker may not write the %s that its code declares (%s): let an"
                    " admin run pgjobs apply MODULE:APP after each deploy", kind,
                    one_line(str(error)),
                )
                return False
            except asyncpg.PostgresError as error:
                # A lock that another session holds, for example.
                pause_s = DECLARE_AGAIN_AFTER_S
                log.warning("declaring %s: refused, again in %.1f s: %r", kind, pause_s, error)
                await asyncio.sleep(pause_s)

    async def _write(self, kind: str) -> None:
        of_kind, text = KINDS[kind], self._declared[kind]
        rows = await of_kind.diff(self._database, self._app, text)
        for row in rows:
            if row["verdict"] == "older":
                _warn_of_newer(of_kind.one.format(row["name"]), row)
        if any(row["verdict"] in ("new", "changed") for row in rows):
            with acting(f"app {self._app}"):
                names = await of_kind.declare(self._database, self._app, text, False)
            log.info("%s: made or changed as the code declares: %s", kind, ", ".join(names))


def _warn_of_newer(what: str, row: Row) -> None:
    log.warning(
        "%s stays as other code declared it on %s: %s. This code declares what code"
        " declared before: %s. If this code is the newer one, run pgjobs apply MODULE:APP",
        what, f"{row['declared_at']:%Y-%m-%d %H:%M:%S} UTC", _told(row["declared"]),
        _told(row["definition"]),
    )


def _told(definition: str) -> str:
    """Tells a definition in a line of the log."""
    arguments: dict[str, object] = json.loads(definition)
    return ", ".join(f"{name} {value}" for name, value in arguments.items() if name != "payload")
