"""Plain functions: each runs in a thread, or in a child process that a thread waits for."""

import asyncio
import contextvars
import logging
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from pgjobs.errors import InvalidArgument, PgjobsError
from pgjobs.handler.run import RUNNING, Run, Stop
from pgjobs.handler.signals import Snooze
from pgjobs.handler.task import Task
from pgjobs.worker.description import one_line
from pgjobs.worker.execution import of_raised
from pgjobs.worker.outcome import End, Outcome, of_stop
from pgjobs.worker.threads import Threads

if TYPE_CHECKING:
    from pgjobs.worker.children import Child

RETURN_IF_NOT_BEGUN_FOR = timedelta(seconds=5)
PLACE_CALLS = 3
_OWN_PACKAGES = ("pgjobs.worker", "pgjobs.handler", "pgjobs.job")

log = logging.getLogger("pgjobs.worker")


def check_importable(tasks: Collection[Task[Any, Any]]) -> None:
    """Raises ``InvalidArgument`` for a task that a child process would not find."""
    if any(task.runs_in_child for task in tasks):
        _refuse_in_a_child()
    for task in tasks:
        if task.runs_in_child:
            found: Any = sys.modules.get(getattr(task.handler, "__module__", ""))
            for part in getattr(task.handler, "__qualname__", "<lambda>").split("."):
                found = getattr(found, part, None)
            if found is not task:
                raise InvalidArgument(
                    f"the handler of {task.job_type} runs in a child process, which imports it:"
                    " decorate it with @app.job at the top level of a module"
                )


def _not_begun(run: Run, error: Exception) -> Snooze:
    """Gives back a job for whose function the system has no thread or process left."""
    log.error(
        "%s is given back, since its function could not begin: %s", run,
        one_line(str(error)),
        extra=run.log_fields,
    )
    return Snooze(RETURN_IF_NOT_BEGUN_FOR)


def _refuse_in_a_child() -> None:
    import multiprocessing

    from pgjobs.worker.child import NAME

    if multiprocessing.current_process().name == NAME:
        # The child imports the main module, would run this worker, and never come to its job.
        raise PgjobsError(
            "a worker cannot run in a child process of a worker: code that starts a worker must"
            " stand under `if __name__ == '__main__'`"
        )


def _place_of(thread: int) -> str:
    """Where a thread is, for the log: its innermost calls, since the last is rarely the user's."""
    frame = sys._current_frames().get(thread)
    calls: list[str] = []
    while frame is not None and len(calls) < PLACE_CALLS:
        code = frame.f_code
        if frame.f_globals.get("__package__") not in _OWN_PACKAGES:
            calls.append(f"{code.co_name} ({code.co_filename}:{frame.f_lineno})")
        elif calls:
            break  # what has called the handler
        frame = frame.f_back
    return f" at {' in '.join(calls)}" if calls else ""


class Functions:
    """Runs the plain functions of one worker.

    A thread cannot be ended from outside. So whoever waits for a plain function waits until its
    thread is free, whatever becomes of the job.
    """

    def __init__(self, worker: str, app_module: str, report: Callable[[Run], None]) -> None:
        self._worker = worker
        self._app_module = app_module
        self._report = report
        self._threads = Threads()
        self._idle: list[Child] = []

    async def in_thread(self, function: Callable[[], Any], run: Run) -> Any:
        """Calls the function in a thread; returns what it returns, and raises what it raises."""
        threads: list[int] = []

        def call() -> Any:
            threads.append(threading.get_ident())
            try:
                return function()
            finally:
                threads.clear()

        def halt() -> None:
            # Whatever the reason is, the function may not have asked `job.stopping` yet.
            log.warning(
                "%s: its function runs on in its thread%s: a thread cannot be stopped, so the job"
                " is held until the function ends, or is given back when the worker ends",
                run, "".join(map(_place_of, threads)), extra=run.log_fields,
            )

        run.halt = halt
        try:
            return await self._call(call, run)
        finally:
            run.halt = None

    async def _call(self, function: Callable[[], Any], run: Run) -> Any:
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

        def tell(answer: tuple[Any, BaseException | None]) -> None:
            if not done.done():
                done.set_result(answer)

        def call() -> None:
            answer: tuple[Any, BaseException | None]
            try:
                answer = (context.run(function), None)
            except BaseException as error:  # noqa: BLE001 - the caller gets it
                answer = (None, error)
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(tell, answer)

        try:
            self._threads.start(call)
        except RuntimeError as refused:
            raise _not_begun(run, refused) from refused
        value, error = await done
        if error is not None:
            raise error
        return value

    async def in_child(
        self, task: Task[Any, Any], run: Run, on_begin: Callable[[], None]
    ) -> Outcome:
        """Runs the task's function in a child process."""
        # Here, since few apps use child processes.
        from pgjobs.worker.child import Order
        from pgjobs.worker.children import Child

        if run.stop is not None:
            return of_stop(run, task.timeout)
        run.phase = RUNNING
        loop = asyncio.get_running_loop()
        order = Order(
            # A script, whose module has another name, is imported by each child anyway.
            self._app_module if self._app_module in sys.modules else None,
            task.handler.__module__, task.handler.__qualname__,
            dict(cast(Mapping[str, Any], run.row)), self._worker,
            logging.getLogger().getEffectiveLevel(),
        )

        def report(text: str) -> None:
            run.progress = text
            self._report(run)

        def call() -> Outcome:
            try:
                child = self._idle_child() or Child()
            except OSError as error:
                raise _not_begun(run, error) from error
            run.halt = lambda: child.stop(run.stop or Stop.LOST)
            run.ask_to_stop = child.ask_to_stop
            if run.stop is not None:
                child.stop(run.stop)
            elif run.stopping:
                child.ask_to_stop()
            try:
                return child.run(order, lambda: loop.call_soon_threadsafe(on_begin), report)
            finally:
                run.halt = run.ask_to_stop = lambda: None
                if child.is_reusable:
                    self._idle.append(child)
                else:
                    child.close()

        run.halt = run.ask_to_stop = lambda: None
        try:
            outcome: Outcome = await self._call(call, run)
        except BaseException as error:  # noqa: BLE001 - of pgjobs' own
            return of_raised(task, run, error)
        if run.stop is not None and outcome.end is not End.COMPLETED:
            stopped = of_stop(run, task.timeout)
            _, _, where = outcome.error.partition("\n\n")
            if stopped.end is End.FAILED and where:
                return replace(stopped, error=f"{stopped.error}\n\n{where}", cause=None)
            return stopped
        return outcome

    def _idle_child(self) -> "Child | None":
        with suppress(IndexError):
            while True:
                child = self._idle.pop()
                if child.is_reusable:
                    return child
                child.close()  # something has killed it since its last job
        return None

    def close(self) -> None:
        """Ends the idle threads and children; a function that still runs is left alone."""
        self._threads.close()
        while self._idle:
            self._idle.pop().close()
