"""The command ``pgjobs metrics``: the numbers of the database, for Prometheus."""

import sys

from pgjobs.cli.options import Dsn, Schema
from pgjobs.cli.session import ask
from pgjobs.database import Database
from pgjobs.telemetry.exposition import exposition
from pgjobs.telemetry.metrics import metrics as read_metrics


def metrics(dsn: Dsn = None, schema: Schema = "public") -> None:
    """Prints metrics in the text format of Prometheus.

    The database has them all, so one scrape serves any number of workers.

    [bold]pgjobs metrics[/bold]
    """
    sys.stdout.write(ask(dsn, schema, _read))


async def _read(database: Database) -> str:
    return exposition(await read_metrics(database))
