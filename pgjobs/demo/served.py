"""Serves the console of the demo's jobs, beside a worker that goes on."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from rich.console import Console

from pgjobs import App, Backoff
from pgjobs.database import Database
from pgjobs.demo.pipeline import File, Retention, app, cleanup, ingest
from pgjobs.web import console as console_of
from pgjobs.web.login import Login
from pgjobs.web.serving import server_of


def serve(dsn: str, console: Console) -> None:
    """Prints the address that opens the console, and serves it until Ctrl-C."""
    with suppress(KeyboardInterrupt):  # before the worker takes signals
        asyncio.run(_serve(dsn, console))


async def _serve(dsn: str, console: Console) -> None:
    app.connect_to(dsn)
    login = Login(None)
    server = server_of(console_of(App(dsn), access=login))
    # The signal stops the worker, and the worker's end stops the server.
    server.capture_signals = _without_signals  # type: ignore[method-assign]
    with socket.create_server(("127.0.0.1", 0)) as bound:
        async with app:
            await _add_jobs(Database(await app.pool()))
            serving = asyncio.create_task(server.serve([bound]))
            console.print(
                f"\nThe console of these jobs: open"
                f" http://127.0.0.1:{bound.getsockname()[1]}/?token={login.once}"
                "\n(the address opens once, in one browser; Ctrl-C ends the demo)",
                soft_wrap=True, markup=False,
            )
            await app.worker().run()
            server.should_exit = True
            await serving


@contextmanager
def _without_signals() -> Iterator[None]:
    yield


async def _add_jobs(database: Database) -> None:
    """Adds jobs of the states in which the demo has none yet."""
    await ingest.enqueue(
        File(file_path="/a file that comes later.txt"), max_retries=9,
        backoff=Backoff.fixed(timedelta(minutes=10)), reference=("file", 4711),
    )
    later = await cleanup.enqueue(Retention(days=30), delay=timedelta(hours=5))
    await cleanup.enqueue(Retention(days=60), depends_on=[later.id])
    unwanted = await cleanup.enqueue(Retention(days=1), delay=timedelta(hours=6))
    await app.cancel(unwanted.id, reason="a day is too short")
    for name, days in (("clean up each minute", 7), ("clean up at night", 30)):
        is_nightly = "night" in name
        await database.schedule(
            name, cleanup.job_type, cron="0 3 * * *" if is_nightly else "* * * * *",
            payload=f'{{"days": {days}}}',
        )
