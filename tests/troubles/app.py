"""The app whose jobs are in trouble. While BROKEN is set, a part of its imports fails."""

import os
import time

from pgjobs import App, Job

app = App()


@app.job("mail", queue="letters")
async def mail(job: Job) -> None: ...


@app.job("ship", queue="orders")
def ship(job: Job) -> None:
    time.sleep(job.payload.get("runs_for_s", 0))


@app.job("call", queue="api")
async def call(job: Job) -> None: ...


@app.job("book", queue="accounts")
async def book(job: Job) -> None: ...


@app.job("import")
async def import_file(job: Job) -> None:
    if "BROKEN" in os.environ and job.payload["line"] % 10 < 3:
        raise ValueError(f"line {job.payload['line']}: no such column")


@app.job("report")
async def report(job: Job) -> None: ...


if "RESIZES" in os.environ:

    @app.job("resize")
    async def resize(job: Job) -> None: ...
