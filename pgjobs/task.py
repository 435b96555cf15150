"""A handler under its name, and the job that it is given."""

import asyncio
import functools
import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, get_args, get_type_hints

import asyncpg
from pydantic import TypeAdapter
from pydantic_core import from_json

from .database import Database, Moment
from .errors import InvalidArgument, JobNotHeld
from .execution import Stop
from .models import Backoff, Job, P, Row, encode

if TYPE_CHECKING:
    from .app import App
    from .connection import Conn
    from .worker import Worker

Q = TypeVar("Q")
R = TypeVar("R")


class RunningJob(Job[P]):
    """A job in its handler: the row, with what only a running job has."""

    __slots__ = ("_app", "_begun", "_deadline", "_settled", "_stop", "_worker")

    def __init__(self, row: Row, app: "App", worker: "Worker") -> None:
        # The payload is decoded when the job runs: a bad one must fail that job, not the claim.
        self._row = row
        self._app = app
        self._worker = worker
        self._begun = False
        self._deadline = math.inf  # by the event loop's clock
        self._settled = False
        self._stop: Stop | None = None

    @property
    def app(self) -> "App":
        """The app that runs it; ``job.app.state`` holds what its lifespan made."""
        return self._app

    @property
    def log_fields(self) -> dict[str, Any]:
        """``extra`` for a log line about this job."""
        row = self._row
        return {
            "job_id": row["id"], "job_type": row["job_type"], "queue": row["queue"],
            "attempt": row["attempt"],
        }  # fmt: skip

    @asynccontextmanager
    async def transaction(self, *, result: object = None) -> AsyncIterator[asyncpg.Connection]:
        """A connection whose transaction commits the handler's writes and the job's completion.

        ``result`` is stored as the job's; a dict may still be filled inside the block. Leaving the
        block by an exception rolls everything back. Raises ``JobNotHeld``, and rolls the writes
        back, if the job was lost meanwhile.
        """
        if self._settled:
            raise JobNotHeld(f"job {self.id} is completed already: one transaction per job")
        pool = await self._app.pool()
        async with pool.acquire() as connection, connection.transaction():
            yield cast(asyncpg.Connection, connection)
            done = await Database(connection, self._app.schema).complete_many(
                self._worker.name, [self.id], [self.attempt],
                [None if result is None else encode(result, "the result")],
                self._worker.keep_completed,
            )  # fmt: skip
            if not done:
                raise JobNotHeld(f"job {self.id} is not held in attempt {self.attempt} any more")
        self._settled = True


class Task(Generic[Q, R]):
    """A registered handler: call it, or enqueue a job for it."""

    def __init__(
        self,
        app: "App",
        handler: Callable[[RunningJob[Q]], Awaitable[R] | R],
        job_type: str,
        *,
        queue: str,
        priority: int,
        max_retries: int,
        timeout: timedelta | None,
        backoff: Backoff | None,
    ) -> None:
        self.app = app
        self.handler = handler
        self.job_type = job_type
        self.queue = queue
        self.priority = priority
        self.max_retries = max_retries
        self.timeout = timeout
        self.backoff = backoff
        self._is_async = inspect.iscoroutinefunction(_function(handler))
        payload_type = _payload_type(handler)
        self._adapter = None if payload_type is Any else TypeAdapter[Any](payload_type)

    def __call__(self, job: RunningJob[Q]) -> Awaitable[R] | R:
        """The handler itself."""
        return self.handler(job)

    def __repr__(self) -> str:
        return f"<Task {self.job_type} in queue {self.queue}>"

    def decode(self, text: str) -> Any:
        """The payload as the handler's annotated type; raises pydantic's ``ValidationError``."""
        return from_json(text) if self._adapter is None else self._adapter.validate_json(text)

    async def run(self, job: RunningJob[Q]) -> R:
        """Runs the handler: a coroutine here, a plain function in a thread."""
        if self._is_async:
            value: Any = await self.handler(job)  # type: ignore[misc]
            return value  # type: ignore[no-any-return]
        loop = asyncio.get_running_loop()
        threads = job._worker.threads
        value = await loop.run_in_executor(threads, self._call, job)
        if inspect.isawaitable(value):
            value = await value
        return value  # type: ignore[no-any-return]

    def _call(self, job: RunningJob[Q]) -> Any:
        try:
            return self.handler(job)
        except (StopIteration, GeneratorExit) as error:
            # A future refuses to hold one, and whoever awaits it would wait for ever.
            raise RuntimeError(f"the handler raised {type(error).__name__}") from error

    async def enqueue(
        self,
        payload: Q,
        *,
        queue: str | None = None,
        priority: int | None = None,
        run_at: Moment = None,
        delay: timedelta | None = None,
        reference: tuple[str, int] | None = None,
        max_retries: int | None = None,
        unique_key: str | None = None,
        unique_scope: str | None = None,
        backoff: Backoff | None = None,
        conn: "Conn | None" = None,
    ) -> Job[Q]:
        """Adds a job for this handler, with its settings where none are given here.

        See ``App.enqueue`` for the arguments, the return value and the errors.
        """
        return await self.app.enqueue(
            self.job_type, payload,
            queue=self.queue if queue is None else queue,
            priority=self.priority if priority is None else priority,
            run_at=run_at, delay=delay, reference=reference,
            max_retries=self.max_retries if max_retries is None else max_retries,
            unique_key=unique_key, unique_scope=unique_scope,
            backoff=self.backoff if backoff is None else backoff, conn=conn,
        )  # fmt: skip

    async def enqueue_many(
        self,
        payloads: Iterable[Q],
        *,
        queue: str | None = None,
        priority: int | None = None,
        run_at: Moment = None,
        delay: timedelta | None = None,
        reference: tuple[str, int] | None = None,
        max_retries: int | None = None,
        backoff: Backoff | None = None,
        conn: "Conn | None" = None,
    ) -> list[int]:
        """Adds a job for each payload, all or none; ids in the same order."""
        return await self.app.enqueue_many(
            self.job_type, payloads,
            queue=self.queue if queue is None else queue,
            priority=self.priority if priority is None else priority,
            run_at=run_at, delay=delay, reference=reference,
            max_retries=self.max_retries if max_retries is None else max_retries,
            backoff=self.backoff if backoff is None else backoff, conn=conn,
        )  # fmt: skip


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
