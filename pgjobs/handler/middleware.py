"""Middleware: what surrounds each run of a handler.

What the handler returned or raised stands, whatever a middleware returns or catches. So a
middleware that forgets to return the result, or only logs an error, cannot complete a failed job.
"""

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pgjobs.errors import InvalidArgument, PgjobsError
from pgjobs.handler.annotation import function_of

# `App.middleware` has the types that users see.
CallNext = Callable[[Any], Awaitable[Any]]
Around = Callable[[Any, CallNext], Awaitable[object]]


def check_middleware(middleware: Any) -> None:
    """Raises ``InvalidArgument`` for what cannot surround a run."""
    if not (callable(middleware) and inspect.iscoroutinefunction(function_of(middleware))):
        raise InvalidArgument(
            f"write a middleware as: async def middleware(job, call_next), not {middleware!r:.100}"
        )


async def surrounded(middlewares: Sequence[Around], job: Any, handler: CallNext) -> Any:
    """Calls the handler within the middlewares, the first of them outermost."""
    if not middlewares:
        return await handler(job)
    middleware, *inner = middlewares
    calls = 0
    value: Any = None
    raised: BaseException | None = None

    async def call_next(job: Any) -> Any:
        nonlocal calls, value, raised
        calls += 1
        if calls > 1:
            raise PgjobsError(
                f"{_name(middleware)} has called call_next twice: one run calls its handler once;"
                " raise pgjobs.Retry to run the job again"
            )
        try:
            value = await surrounded(inner, job, handler)
        except BaseException as error:
            raised = error
            raise
        return value

    await middleware(job, call_next)
    if not calls:
        raise PgjobsError(
            f"{_name(middleware)} has not called call_next(job), so the handler did not run: raise"
            " pgjobs.Cancel, Fail or Snooze where it must not"
        )
    if raised is not None:
        raise raised
    return value


def surrounded_here(
    middlewares: Sequence[Around], job: Any, handler: Callable[[Any], Any]
) -> Any:
    """Calls a plain function within the middlewares, in this thread and outside of event loops.

    The middlewares have an event loop. It stands still while the function runs, which so may have
    another one.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        reached: asyncio.Future[tuple[Any, contextvars.Context]] = loop.create_future()
        ended: asyncio.Future[Any] = loop.create_future()

        async def handle(job: Any) -> Any:
            reached.set_result((job, contextvars.copy_context()))
            return await ended

        running = loop.create_task(surrounded(middlewares, job, handle))
        loop.run_until_complete(
            asyncio.wait([running, reached], return_when=asyncio.FIRST_COMPLETED)
        )
        if reached.done() and not running.done():
            passed, context = reached.result()
            asyncio.set_event_loop(None)
            try:
                ended.set_result(context.run(handler, passed))
            except BaseException as error:  # noqa: BLE001 - the middlewares get it
                ended.set_exception(error)
        return loop.run_until_complete(running)


def _name(middleware: Any) -> str:
    return str(getattr(middleware, "__qualname__", None) or repr(middleware)[:100])
