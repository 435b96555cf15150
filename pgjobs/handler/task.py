"""The handler of a job type."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, get_args, get_type_hints

from pydantic import TypeAdapter
from pydantic_core import from_json

from pgjobs.errors import InvalidArgument
from pgjobs.handler.held_job import HeldJob
from pgjobs.handler.host import Host
from pgjobs.job.job import Job
from pgjobs.producer.arguments import BatchOptions, EnqueueOptions

if TYPE_CHECKING:
    from pgjobs.connection.executor import Conn

Q = TypeVar("Q")
R = TypeVar("R")


class Task(Generic[Q, R]):
    """A registered handler: call it, or enqueue a job for it.

    ``options`` are used where a call of ``enqueue`` gives none; ``timeout`` is for each run.
    """

    def __init__(
        self,
        app: Host,
        handler: Callable[[Any], Awaitable[R] | R],
        job_type: str,
        *,
        timeout: timedelta | None = None,
        run_in: str | None = None,
        **options: Unpack[BatchOptions],
    ) -> None:
        self.app = app
        self.handler = handler
        self.job_type = job_type
        self.timeout = timeout
        self.options = options
        self.is_async = inspect.iscoroutinefunction(_function(handler))
        self.runs_in_child = _checked_place(run_in, self.is_async) == "process"
        payload_type = _payload_type(handler)
        self._adapter = None if payload_type is Any else TypeAdapter[Any](payload_type)

    def __call__(self, job: HeldJob[Q]) -> Awaitable[R] | R:
        """Calls the handler."""
        return self.handler(job)

    def __repr__(self) -> str:
        return f"<Task {self.job_type} in queue {self.options.get('queue')}>"

    def decode(self, text: str) -> Any:
        """Returns the payload as the annotated type; raises pydantic's ``ValidationError``."""
        return from_json(text) if self._adapter is None else self._adapter.validate_json(text)

    async def enqueue(
        self, payload: Q, *, conn: "Conn | None" = None, **options: Unpack[EnqueueOptions]
    ) -> Job[Q]:
        """Adds a job; an option that is None or left out is the handler's own.

        See ``App.enqueue`` for the options, the return value and the errors.
        """
        chosen: EnqueueOptions = _chosen(self.options, options)
        return await self.app.enqueue(self.job_type, payload, conn=conn, **chosen)

    async def enqueue_many(
        self, payloads: Iterable[Q], *, conn: "Conn | None" = None, **options: Unpack[BatchOptions]
    ) -> list[int]:
        """Adds a job for each payload, all or none; ids in the same order."""
        chosen: BatchOptions = _chosen(self.options, options)
        return await self.app.enqueue_many(self.job_type, payloads, conn=conn, **chosen)


def _checked_place(run_in: str | None, is_async: bool) -> str | None:
    """Where a plain function runs, ``thread`` or ``process``; None for a coroutine function."""
    if run_in not in (None, "thread", "process"):
        raise InvalidArgument(f"run_in must be 'thread' or 'process', not {run_in!r}")
    if is_async and run_in is not None:
        raise InvalidArgument(
            f"run_in={run_in!r} is for plain functions: write `def` in place of `async def`"
        )
    return None if is_async else run_in or "thread"


def _chosen(own: Any, given: Any) -> Any:
    """The handler's own options, and over them the call's that are not None."""
    return own | {n: v for n, v in given.items() if v is not None or n not in own}


def _function(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The function behind a partial or an object that can be called."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if inspect.isroutine(handler):
        return handler
    found: Callable[..., Any] = type(handler).__call__
    return found


def _payload_type(handler: Callable[..., Any]) -> Any:
    """``P`` of the ``Job[P]`` that the handler's first argument is annotated with, else ``Any``."""
    parameters = list(inspect.signature(handler).parameters.values())
    name = getattr(handler, "__qualname__", repr(handler))
    if not parameters:
        raise InvalidArgument(
            f"{name} takes no argument: write it as (job: Job[Payload])"
        )
    try:
        hints = get_type_hints(_function(handler))
    except NameError as error:
        raise InvalidArgument(
            f"the annotations of {name} cannot be read ({error}): "
            "define the payload's type at the top level of a module"
        ) from error
    arguments = get_args(hints.get(parameters[0].name))
    return arguments[0] if arguments and not isinstance(arguments[0], TypeVar) else Any
