"""Commands that change many jobs at once, chosen by filters, in batches."""

import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated

import typer

from pgjobs.cli.options import (
    AsJson,
    Dsn,
    JobTypes,
    Queues,
    Schema,
    Yes,
    age,
    ask_first,
    reference,
)
from pgjobs.cli.output import print_json, print_lines, told_count
from pgjobs.cli.session import ask
from pgjobs.database import Database
from pgjobs.database.manage import Filters
from pgjobs.many import as_of_now
from pgjobs.producer.arguments import reference_columns

# A batch of this size ends soon and shows progress; a larger batch would not be faster.
_BATCH_JOBS = 10_000

# Given the filters of all batches, and when the first batch began.
Change = Callable[[Database, Filters, datetime | None], Awaitable[int]]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="KEY", help="Only this group; may be repeated."),
]
About = Annotated[
    str | None, typer.Option("--reference", metavar="TYPE:ID", help="Only jobs about this entity.")
]
OlderThan = Annotated[
    timedelta | None,
    typer.Option(parser=age, metavar="DURATION", help="Only jobs enqueued longer ago."),
]


def delete(
    job_type: JobTypes = None,
    queue: Queues = None,
    group: Groups = None,
    about: About = None,
    older_than: OlderThan = None,
    yes: Yes = False,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Deletes jobs that have ended, by filters; asks before.

    [bold]pgjobs delete --reference order:4711[/bold]

    [bold]pgjobs delete --type thumbnail --older-than 2d --yes[/bold]

    By the status and age of jobs, pgjobs cleanup deletes.
    """
    filters = chosen(job_type, queue, group, about, older_than=older_than)
    if not filters:
        raise typer.BadParameter(
            "say which jobs: --type, --queue, --group, --reference or --older-than"
        )
    ask_first("the jobs and their results will be gone for good", yes=yes)
    deleted = change_all(
        dsn, schema, "deleting", filters,
        lambda database, filters, _: database.delete_many(**filters),
    )
    if as_json:
        print_json({"deleted": deleted})
    else:
        print_lines(told_count(deleted, "job is deleted", "jobs are deleted"))


def chosen(
    job_types: list[str] | None,
    queues: list[str] | None,
    groups: list[str] | None,
    about: str | None,
    *,
    older_than: timedelta | None = None,
    since: timedelta | None = None,
) -> Filters:
    """The filters that are given, and no others."""
    filters: Filters = {}
    if job_types:
        filters["job_types"] = job_types
    if queues:
        filters["queues"] = queues
    if groups:
        filters["group_keys"] = groups
    if about is not None:
        columns = reference_columns(reference(about))
        filters["reference_type"] = columns["reference_type"]
        filters["reference_id"] = columns.get("reference_id")
        filters["reference_key"] = columns.get("reference_key")
    if older_than is not None:
        filters["created_before"] = -older_than
    if since is not None:
        filters["failed_since"] = -since
    return filters


def change_all(
    dsn: str | None,
    schema: str,
    doing: str,
    filters: Filters,
    change: Change,
) -> int:
    """Changes batch after batch until none is left; returns how many jobs were changed."""

    async def change_each(database: Database) -> int:
        from rich.console import Console
        from rich.progress import Progress, TextColumn

        given: Filters = {**await as_of_now(database, filters), "max_jobs": _BATCH_JOBS}
        began = await database.moment(timedelta(0))
        total = 0
        with Progress(
            TextColumn("{task.description} {task.completed:.0f}"),
            console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
        ) as bar:
            task = bar.add_task(doing, total=None)
            while count := await change(database, given, began):
                total += count
                bar.update(task, completed=total)
        return total

    return ask(dsn, schema, change_each)
