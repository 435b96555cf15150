"""Commands that list, retry and cancel jobs."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer

from pgjobs.cli.complaints import complaint
from pgjobs.cli.fields import job_data
from pgjobs.cli.many import About, Groups, OlderThan, change_all, chosen
from pgjobs.cli.options import (
    AsJson,
    Dsn,
    Ids,
    JobTypes,
    Queues,
    Schema,
    age,
    at_least,
    one_of,
    reference,
)
from pgjobs.cli.output import (
    as_dict,
    first_line,
    print_error,
    print_json,
    print_lines,
    print_rich,
    told_count,
)
from pgjobs.cli.queues import told_limit, told_pause
from pgjobs.cli.session import ask
from pgjobs.cli.table import table
from pgjobs.database import Database
from pgjobs.database.reading import MAX_READ_JOBS
from pgjobs.errors import PgjobsError
from pgjobs.job.job import Job, JobStatus, Row
from pgjobs.producer.arguments import reference_columns

# The name of a class begins with a capital letter, and a host's name, which may begin an error too,
# with a small one.
_MODULE_OF_CLASS = re.compile(r"^(?:[\w<>]+\.)+(?=[A-Z]\w*(?::|$))")


def list_jobs(
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status", "-s", parser=one_of("status", JobStatus), metavar="STATUS",
            help="Only this status; may be repeated.",
        ),
    ] = None,
    job_type: JobTypes = None,
    queue: Queues = None,
    about: Annotated[
        str | None, typer.Option("--reference", metavar="TYPE:ID", help="Jobs about this entity.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", metavar="KEY",
            help="Jobs of this group. With --status pending, processing or both, an index finds "
            "them; else among the newest jobs, or those that ended last.",
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", parser=at_least(1), metavar="N", help="At most N jobs."),
    ] = "20",  # type: ignore[assignment]  # typer parses the default as if it were typed
    before: Annotated[
        int | None,
        typer.Option("--before", metavar="ID", help="The next page: what comes after this job."),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Lists jobs, the newest first; ended ones: the last ended first; pending ones: as claims do.

    Pending jobs with a group come behind the others of their queue, group by group.

    [bold]pgjobs list --status failed --type file_ingestion[/bold]

    [bold]pgjobs list --status failed --limit 1000 --json | jq .[].id[/bold]

    [bold]pgjobs list --reference order:4711[/bold]

    The age of a job counts from the moment when it became due, was claimed, or ended. Of a job that
    is not due yet, the age says when it will be: in 13h.
    """
    columns = {} if about is None else reference_columns(reference(about))

    async def question(database: Database) -> tuple[Sequence[Row], int | None, list[str]]:
        rows, searched_to = await database.listing(
            status, job_type, queue, limit, before=before, group_key=group, **columns
        )
        return rows, searched_to, [] if as_json else await _why_they_wait(database, rows)

    rows, searched_to, reasons = ask(dsn, schema, question)
    if searched_to is not None:
        print_error(f"looked through {MAX_READ_JOBS} jobs; for more: --before {searched_to}")
    if as_json:
        print_json([as_dict(row) for row in rows])
    elif not rows:
        print_lines("no such jobs" if searched_to is None else "no such jobs so far")
    else:
        print_rich(table(
            ">id queue !type !status >prio >retry >crash >age ~error | !group worker reference",
            ([r["id"], r["queue"], r["job_type"], r["status"], r["priority"],
              f"{r['retry_count']}/{r['max_retries']}", r["crash_count"], r["age"],
              _short_error(r["error"]), r["group_key"], r["worker"], _reference(r)]
             for r in rows)))
        print_lines(*reasons)


async def _why_they_wait(database: Database, rows: Sequence[Row]) -> list[str]:
    """Tells which pauses and limits hold back pending jobs that are due."""
    waiting = [row for row in rows if row["status"] == JobStatus.PENDING]
    if not waiting:
        return []
    queues = {row["queue"] for row in waiting}
    groups = {
        (row["queue"], row["group_key"]) for row in waiting if row["group_key"] is not None
    }
    return [
        *(told_pause(pause) for name, pause in (await database.paused()).items() if name in queues),
        *(told_limit(held) for held in await database.held_back(groups)
          if held["queue"] in queues),
    ]


def retry(
    job_ids: Ids = None,  # type: ignore[assignment]  # typer makes an empty list of it
    failed: Annotated[bool, typer.Option("--failed", help="All failed jobs.")] = False,
    job_type: JobTypes = None,
    queue: Queues = None,
    group: Groups = None,
    about: About = None,
    since: Annotated[
        timedelta | None,
        typer.Option(
            parser=age, metavar="DURATION", help="With --failed: no older failures: 90m, 2h, 7d."
        ),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Runs finished jobs again, now and with all their retries.

    [bold]pgjobs retry 42 43[/bold]

    [bold]pgjobs retry --failed --type file_ingestion --since 2h[/bold]
    """
    filters = chosen(job_type, queue, group, about, since=since)
    if failed == bool(job_ids):
        raise typer.BadParameter("give the ids of jobs, or --failed for all failed jobs")
    if filters and not failed:
        raise typer.BadParameter(
            "--type, --queue, --group, --reference and --since go with --failed"
        )

    if failed:
        # A batch may hold jobs that it does not retry: only one of two jobs with the same key.
        total = change_all(
            dsn, schema, "retrying", filters,
            lambda database, filters, began: database.retry_many(began, **filters),
        )
        if as_json:
            print_json({"retried": total})
        else:
            print_lines(told_count(total, "job is pending again", "jobs are pending again"))
        return

    def told(job: Job[Any]) -> str:
        return f"job {job.id} is {job.status} again"

    _change_each(dsn, schema, job_ids, Database.retry, told, as_json=as_json)


def cancel(
    job_ids: Ids = None,  # type: ignore[assignment]  # typer makes an empty list of it
    job_type: JobTypes = None,
    queue: Queues = None,
    group: Groups = None,
    about: About = None,
    older_than: OlderThan = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Written to the error of the job.")
    ] = None,
    downstream: Annotated[
        bool,
        typer.Option("--downstream", help="Also all jobs that wait for these, directly or not."),
    ] = False,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Cancels jobs; asks the worker of a running job to stop it.

    [bold]pgjobs cancel 42 --reason "the file is gone"[/bold]

    [bold]pgjobs cancel 42 --downstream[/bold]

    [bold]pgjobs cancel --type thumbnail --older-than 2h[/bold]
    """
    filters = chosen(job_type, queue, group, about, older_than=older_than)
    if downstream and not job_ids:
        raise typer.BadParameter("--downstream goes with the ids of jobs, not with filters")
    if bool(job_ids) == bool(filters):
        raise typer.BadParameter(
            "give the ids of jobs, or filters: --type, --queue, --group, --reference, --older-than"
        )
    if not job_ids:
        total = change_all(
            dsn, schema, "cancelling", filters,
            lambda database, filters, _: database.cancel_many(reason, **filters),
        )
        if as_json:
            print_json({"cancelled": total})
        else:
            print_lines(told_count(
                total, "job is cancelled, or its worker was asked to stop it",
                "jobs are cancelled, or their workers were asked to stop them",
            ))
        return

    async def cancel_one(database: Database, job_id: int) -> Job[Any]:
        return await database.cancel(job_id, reason, downstream=downstream)

    def told(job: Job[Any]) -> str:
        below = "; those that waited for it are cancelled" if downstream else ""
        if job.status == "processing":
            return f"job {job.id} is running: {job.worker} was asked to stop it{below}"
        return f"job {job.id} is {job.status}{below}"

    _change_each(dsn, schema, job_ids, cancel_one, told, as_json=as_json)


def _change_each(
    dsn: str | None,
    schema: str,
    job_ids: Iterable[int],
    change: Callable[[Database, int], Awaitable[Job[Any]]],
    told: Callable[[Job[Any]], str],
    *,
    as_json: bool,
) -> None:
    """Changes each job, and tells or prints it."""

    def tell(job: Job[Any]) -> None:
        print_lines(told(job))

    changed, all_changed = each_job(dsn, schema, job_ids, change, None if as_json else tell)
    if as_json:
        print_json(changed)
    if not all_changed:
        raise typer.Exit(1)


def each_job(
    dsn: str | None,
    schema: str,
    job_ids: Iterable[int],
    take: Callable[[Database, int], Awaitable[Job[Any]]],
    tell: Callable[[Job[Any]], None] | None,
) -> tuple[list[dict[str, Any]], bool]:
    """Takes one job after the other, also after a job that fails.

    Returns the data of the others, and whether no job failed.
    """
    taken: list[dict[str, Any]] = []

    async def take_all(database: Database) -> bool:
        all_taken = True
        for job_id in job_ids:
            try:
                job = await take(database, job_id)
            except PgjobsError as error:
                found = complaint(error)
                if found is None or found.status != 1:
                    raise
                print_error(found.line)
                all_taken = False
            else:
                taken.append(job_data(job))
                if tell is not None:
                    tell(job)
        return all_taken

    return taken, ask(dsn, schema, take_all)


def _short_error(error: str | None) -> str:
    """The first line, without the module of the error's class: a list has little room."""
    return _MODULE_OF_CLASS.sub("", first_line(error))


def _reference(row: Row) -> str:
    entity = row["reference_id"] if row["reference_key"] is None else row["reference_key"]
    kind = row["reference_type"]
    return "" if kind is None and entity is None else f"{kind or ''}:{entity or ''}"
