"""Runs a job's handler and returns the outcome: one run, one outcome."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pgjobs.handler.held_job import HeldJob
from pgjobs.handler.middleware import Around, surrounded, surrounded_here
from pgjobs.handler.run import RUNNING, Run, Stop
from pgjobs.handler.task import Task
from pgjobs.worker.description import head
from pgjobs.worker.outcome import (
    COMPLETED,
    Outcome,
    of_error,
    of_payload_error,
    of_stop,
    of_value,
)

log = logging.getLogger("pgjobs.worker")

InThread = Callable[[Callable[[], Any], Run], Awaitable[Any]]


async def execute(
    task: Task[Any, Any],
    job: HeldJob[Any],
    run: Run,
    in_thread: InThread,
    middlewares: Sequence[Around] = (),
) -> Outcome:
    """Runs the handler: a coroutine function in the event loop, a plain one by ``in_thread``."""
    if run.stop is not None:
        return of_stop(run, task.timeout)
    run.phase = RUNNING
    if task.is_async and (refused := _read_payload(task, job)) is not None:
        return refused
    try:
        if middlewares:
            value = await _surrounded(task, job, run, in_thread, middlewares)
            if type(value) is Outcome:
                return value
        elif task.is_async:
            value = await task.handler(job)
        else:
            # The payload, too: a class of the same author reads it, and may block the loop as well.
            value = await in_thread(lambda: _read_payload(task, job) or task.handler(job), run)
            if type(value) is Outcome:
                return value
    except BaseException as error:  # noqa: BLE001 - also SystemExit: only this job fails
        return of_raised(task, run, error)
    return of_returned(task, run, value)


async def _surrounded(
    task: Task[Any, Any],
    job: HeldJob[Any],
    run: Run,
    in_thread: InThread,
    middlewares: Sequence[Around],
) -> Any:
    """Runs the handler within the middlewares, which may read the payload already."""
    if task.is_async:
        return await surrounded(middlewares, job, task.handler)
    refused = await in_thread(lambda: _read_payload(task, job), run)
    if refused is not None:
        return refused

    async def handle(job: HeldJob[Any]) -> Any:
        return await in_thread(lambda: task.handler(job), run)

    return await surrounded(middlewares, job, handle)


def call(task: Task[Any, Any], job: HeldJob[Any], run: Run) -> Outcome:
    """Runs a plain function here: in a child process."""
    if (refused := _read_payload(task, job)) is not None:
        return refused
    try:
        if task.app.middlewares:
            value = surrounded_here(task.app.middlewares, job, task.handler)
        else:
            value = task.handler(job)
    except BaseException as error:  # noqa: BLE001 - also SystemExit: only this job fails
        return of_raised(task, run, error)
    return of_returned(task, run, value)


def _read_payload(task: Task[Any, Any], job: HeldJob[Any]) -> Outcome | None:
    """Gives the job its payload; returns the outcome if that cannot be read."""
    try:
        job._payload = task.decode(job._row["payload"])
    except BaseException as error:  # noqa: BLE001 - a validator of the payload may raise anything
        return of_payload_error(error)
    return None


def of_raised(task: Task[Any, Any], run: Run, error: BaseException) -> Outcome:
    """The outcome of a handler that raised, perhaps because it was stopped."""
    if isinstance(error, asyncio.CancelledError):
        return of_stop(run, task.timeout, error)
    if run.stop in (Stop.SHUTDOWN, Stop.LOST):
        # The handler answers its cancellation with an error of its own. The job has not failed.
        log.info("%s raised when it was stopped: %s", run, head(error), extra=run.log_fields)
        return of_stop(run, task.timeout)
    return of_error(run, error)


def of_returned(task: Task[Any, Any], run: Run, value: object) -> Outcome:
    """The outcome of a handler that returned, perhaps too late."""
    if value is None and run.stop is None and not run.is_committed:
        return COMPLETED
    outcome = of_stop(run, task.timeout) if run.is_committed else of_value(value)
    if run.stop is Stop.TIMEOUT:
        log.warning(
            "%s returned after its timeout of %s: it is %s",
            run, task.timeout, outcome.end.value, extra=run.log_fields,
        )
    return outcome
