"""Runs ``pgjobs demo``: ingests real files by real jobs, on a temporary PostgreSQL server."""

import asyncio
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pgjobs.database import Database
from pgjobs.embedded import EmbeddedPostgres
from pgjobs.errors import InvalidArgument
from pgjobs.job.job import Row
from pgjobs.schema.migrate import migrate

# Counts up to this are exact: here every file counts.
_EXACT = 2**31 - 1
_BROKEN_FILE = "broken on purpose.txt"
_STATUSES = ("pending", "processing", "completed", "failed")


def run(
    path: Path | None, *, once: bool = False, then: Callable[[str, Console], None] | None = None
) -> None:
    """Ingests the text files under ``path`` and counts the jobs of each type and status.

    ``path``: None for the documentation that ships with pgjobs. ``once``: False keeps the server
    running until Enter, and names commands to look at it. ``then``: what is done instead, with the
    DSN of the server. Raises ``InvalidArgument`` if there is no text file.
    """
    # Rich would colour numbers, quotes and paths wherever it finds them.
    console = Console(highlight=False)
    files = find_files(documentation() if path is None else path)
    with tempfile.TemporaryDirectory(prefix="pgjobs-demo-") as folder:
        broken = Path(folder) / _BROKEN_FILE
        broken.write_bytes(b"not UTF-8: \xff\xfe\xfa")
        console.print("Starting a temporary PostgreSQL server ...")
        with EmbeddedPostgres() as server:
            migrate(server.dsn)
            console.print(
                f"Ingesting files: {len(files)}, and one that is broken on purpose: "
                "its job runs three times, then fails.\n"
            )
            failed = asyncio.run(_work(server.dsn, [*files, broken], console))
            if then is not None:
                then(server.dsn, console)
            elif not once:
                _print_next_steps(server, failed, console)
                with suppress(EOFError, KeyboardInterrupt):
                    console.input("\nThe server is still running. Press Enter to stop it. ")
    if then is None:
        line = f"\nTo see such jobs in a browser: {_this_command()} demo --web"
        console.print(line, soft_wrap=True, markup=False)


def documentation() -> Path:
    """Finds the documentation: inside the package, or beside the package in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "docs"
    return inside if inside.is_dir() else package.parent / "docs"


def find_files(path: Path) -> list[Path]:
    """Lists the text files under a folder; for a file, only that file."""
    if path.is_file():
        return [path]
    files = sorted(
        file
        for pattern in ("*.md", "*.txt", "*.rst")
        for file in path.rglob(pattern)
        if file.is_file()
    )
    if not files:
        raise InvalidArgument(f"there are no .md, .txt or .rst files in {path}")
    return files


async def _work(dsn: str, files: Sequence[Path], console: Console) -> int | None:
    """Ingests the files and prints what became of them; returns the id of a job that failed."""
    from pgjobs.demo.pipeline import File, app, ingest

    app.connect_to(dsn)
    async with app:
        database = Database(await app.pool())
        await ingest.enqueue_many([File(file_path=str(file.absolute())) for file in files])
        worker = app.worker()
        began = time.monotonic()
        with Live(console=console, refresh_per_second=8, transient=True) as live:
            async with asyncio.TaskGroup() as group:
                working = group.create_task(worker.run())
                rows = await database.stats(_EXACT)
                # Ctrl-C stops the worker before all jobs have ended.
                while not working.done() and any(
                    row["status"] in ("pending", "processing") for row in rows
                ):
                    live.update(_table(rows))
                    await asyncio.sleep(0.125)
                    rows = await database.stats(_EXACT)
                worker.stop()
        seconds = time.monotonic() - began
        done = sum(row["count"] for row in rows if row["status"] in ("completed", "failed"))
        console.print(_table(rows))
        console.print(
            f"{done} jobs in {seconds:.1f} s: {done / seconds:.0f} per second, including the "
            "delays of the retries and of the clean-up."
        )
        failed, _ = await database.listing(statuses=["failed"])
        for job in failed:
            error = (job["error"] or "").partition("\n")[0]
            console.print(
                f"Job {job['id']} failed after {job['max_retries']} retries: {error}", markup=False
            )
        return failed[0]["id"] if failed else None


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("job type")
    for status in _STATUSES:
        table.add_column(status, justify="right", min_width=10)
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:  # a row per state: those that are due and those that wait are both pending
        counts[row["job_type"], row["status"]] += row["count"]
    for job_type in sorted({row["job_type"] for row in rows}):
        table.add_row(job_type, *(str(counts[job_type, s] or "") for s in _STATUSES))
    return table


def _print_next_steps(server: EmbeddedPostgres, failed: int | None, console: Console) -> None:
    """Prints commands that can be pasted into another terminal as they stand."""
    pgjobs = _this_command()
    bundled = server.bin / "psql"
    psql = shlex.quote(str(bundled)) if bundled.exists() else "psql"
    lines = [
        f"export PGJOBS_DSN={shlex.quote(server.dsn)}",
        f"{pgjobs} top",
        f"{pgjobs} list" if failed is None else f"{pgjobs} show {failed}",
        f"{pgjobs} doctor",
        f'{psql} "$PGJOBS_DSN" -c "select * from jobs_stats order by queue, job_type, status"',
    ]
    console.print("\nTo look around, paste these lines into another terminal, one at a time:")
    for line in lines:
        console.print(f"  {line}", soft_wrap=True, markup=False)


def _this_command() -> str:
    """Returns what runs pgjobs in another terminal, where no virtual environment may be active."""
    program = Path(sys.argv[0]).absolute()
    if program.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m pgjobs"
    found = shutil.which("pgjobs")
    return "pgjobs" if found and program.samefile(found) else shlex.quote(str(program))
