"""The command ``pgjobs metrics``: the numbers of the database, for Prometheus."""

import asyncio
import logging
import signal
import sys
import threading
import time
from typing import Annotated

import asyncpg
import typer

from pgjobs.cli.endpoint import Answer, Endpoint
from pgjobs.cli.log import log_to_stderr
from pgjobs.cli.options import Address, Dsn, Schema, address
from pgjobs.cli.output import print_lines
from pgjobs.cli.session import ask, opened
from pgjobs.connection.link import BROKEN
from pgjobs.database import Database
from pgjobs.database.bound import LOOK_UP_ENDS_AFTER_S, bounded
from pgjobs.errors import PgjobsError
from pgjobs.telemetry.exposition import exposition
from pgjobs.telemetry.metrics import metrics as read_metrics

log = logging.getLogger("pgjobs.metrics")

FRESH_FOR_S = 1.0  # several scrapers, and an impatient one, share one reading
ANSWERED_WITHIN_S = 4.0  # before the endpoint gives up


def metrics(
    listen: Annotated[
        Address | None,
        typer.Option(
            parser=address, metavar="HOST:PORT",
            help="Answer at /metrics of this address until the command is ended. An empty host "
            "stands for all addresses of this machine.",
        ),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
) -> None:
    """Prints metrics in the text format of Prometheus, or answers its scrapes.

    The database has them all, so one scrape serves any number of workers.

    [bold]pgjobs metrics[/bold]

    [bold]pgjobs metrics --listen :9464[/bold]
    """
    if listen is None:
        sys.stdout.write(ask(dsn, schema, _read))
        return
    log_to_stderr("info", "text")
    ask(dsn, schema, _read)  # what is wrong is told at once, and not at the first scrape
    # The first process of a container gets no signal that it has no handler for.
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with Endpoint("--listen", listen, {"/metrics": Scrapes(dsn, schema).answer}) as endpoint:
        print_lines(f"metrics are at /metrics of {endpoint.addresses}")
        sys.stdout.flush()
        stopping.wait()


async def _read(database: Database) -> str:
    return exposition(await read_metrics(database))


class Scrapes:
    """Answers scrapes, each by a connection of its own; those that come together get one answer."""

    def __init__(self, dsn: str | None, schema: str) -> None:
        self._dsn = dsn
        self._schema = schema
        self._reading = asyncio.Lock()
        self._text = ""
        self._read_at = float("-inf")

    async def answer(self) -> Answer:
        """Whether the database could be read, and the metrics, or else the reason."""
        try:
            async with asyncio.timeout(ANSWERED_WITHIN_S), self._reading:
                if time.monotonic() - self._read_at > FRESH_FOR_S:
                    self._text = await self._read()
                    self._read_at = time.monotonic()
                return True, self._text
        except asyncpg.QueryCanceledError:
            reason = f"the database gave no answer within {LOOK_UP_ENDS_AFTER_S} s"
        except (*BROKEN, TimeoutError, asyncpg.PostgresError, PgjobsError) as error:
            # An error's text may name users and hosts, and whoever reaches the port reads this.
            log.warning("the metrics could not be read: %s", error)
            reason = "the database could not be read: the log says why"
        return False, {"error": reason}

    async def _read(self) -> str:
        async with opened(self._dsn) as connection, bounded(connection):
            return await _read(Database(connection, self._schema))
