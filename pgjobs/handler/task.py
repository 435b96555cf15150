"""The handler of a job type."""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack

from pydantic_core import from_json

from pgjobs.connection.blocking import finished
from pgjobs.errors import InvalidArgument, PgjobsError
from pgjobs.handler.annotation import check_handler, function_of, payload_type, result_type
from pgjobs.handler.held_job import HeldJob
from pgjobs.handler.host import Host
from pgjobs.job.job import Job, decoded
from pgjobs.job.outcome import Outcome
from pgjobs.job.payload import NO_PAYLOAD, encode
from pgjobs.producer.arguments import (
    DEFAULTS,
    EnqueueOptions,
    JobOptions,
    ManyOptions,
    group_argument,
    job_arguments,
)
from pgjobs.producer.batch import Batch, batch_of, batch_of_texts, several
from pgjobs.producer.new_job import NewJob
from pgjobs.watching.thread import finished_in_thread

if TYPE_CHECKING:
    from pgjobs.connection.blocking import SyncConn
    from pgjobs.connection.executor import Conn

Q = TypeVar("Q")
R = TypeVar("R")

# Gives the group of a job for its payload, which is of the type that the handler is given.
GroupOf = Callable[[Any], str | None]


class Task(Generic[Q, R]):
    """A registered handler: call it, or enqueue a job for it.

    ``options`` are used where a call of ``enqueue`` gives none; ``timeout`` is for each run.
    ``group_of``: gives the group of a job for its payload. ``concurrency``: how many of its jobs a
    worker runs at once; None: as many as it has slots.
    """

    def __init__(
        self,
        app: Host,
        handler: Callable[[Any], Awaitable[R] | R],
        job_type: str,
        *,
        timeout: timedelta | None = None,
        run_in: str | None = None,
        group_of: GroupOf | None = None,
        concurrency: int | None = None,
        **options: Unpack[JobOptions],
    ) -> None:
        self.app = app
        self.handler = handler
        self.job_type = job_type
        self.timeout = timeout
        self.concurrency = concurrency
        self._group_of = group_of
        self.options = options
        self._has_default_options = all(
            value is None or value == DEFAULTS.get(name) for name, value in options.items()
        )
        check_handler(handler)
        self.is_async = inspect.iscoroutinefunction(function_of(handler))
        self.runs_in_child = _checked_place(run_in, self.is_async) == "process"
        self._payload_type = payload_type(handler)  # None: plain JSON data

    def __call__(self, job: HeldJob[Q]) -> Any:
        """Calls the handler; ``await task(job)`` if it is a coroutine function."""
        return job.call(self) if isinstance(job, HeldJob) else self.handler(job)

    def __repr__(self) -> str:
        return f"<Task {self.job_type} in queue {self.options.get('queue')}>"

    def decode(self, text: str) -> Any:
        """Returns the payload as the annotated type; raises pydantic's ``ValidationError``."""
        return from_json(text) if self._payload_type is None else self._payload_type.read(text)

    def encode(self, payload: object, what: str = "the payload") -> str:
        """JSON text that ``decode`` returns this payload for; raises ``InvalidArgument``."""
        try:
            return encode(payload, what, self._payload_type)
        except InvalidArgument as error:
            if self._payload_type is None or not self._payload_type.is_other_class(payload):
                raise
            raise InvalidArgument(
                f"{what} is of class {type(payload).__name__}, and the handler of {self.job_type}"
                f" takes {self._payload_type.name}"
            ) from error

    @property
    def sync(self) -> "SyncTask[Q]":
        """The task's calls and ``wait`` as plain functions, for code without an event loop."""
        return SyncTask(self)

    def read_result(self, text: str | None) -> Any:
        """Returns a result as the handler's annotation says; without one, as plain JSON data."""
        if text is None:
            return None
        kind = result_type(self.handler)
        if kind is None:
            return decoded(text)
        try:
            return kind.read(text)
        except ValueError as error:
            raise PgjobsError(
                f"the handler of {self.job_type} does not return results like this one any more:"
                f" read job.result instead ({error})"
            ) from error

    async def enqueue(
        self,
        payload: Q = NO_PAYLOAD,
        *,
        conn: "Conn | None" = None,
        **options: Unpack[EnqueueOptions],
    ) -> Job[Q, R]:
        """Adds a job; an option that is None or left out is the handler's own.

        ``payload``: of the handler's type, or plain data that the type reads, else
        ``InvalidArgument``; left out, it is ``{}``. See ``App.enqueue`` for the options, the return
        value and the errors.
        """
        return await self.app.enqueue_text(*self.job(payload, options), conn)

    async def enqueue_many(
        self, payloads: Iterable[Q], *, conn: "Conn | None" = None, **options: Unpack[ManyOptions]
    ) -> list[int]:
        """Adds a job for each payload, all or none; ids in the same order."""
        return await self.app.enqueue_batch(*self.batch(payloads, options), conn)

    def new(
        self, payload: Q = NO_PAYLOAD, *, ref: str | None = None, **options: Unpack[EnqueueOptions]
    ) -> NewJob[Q]:
        """A job for ``app.enqueue_many([...])``, which adds jobs of several types in one call.

        ``ref``: a name by which ``depends_on`` of a later job of the call means this one.
        """
        if ref is not None and not isinstance(ref, str):
            raise InvalidArgument(f"ref must be a string, not {ref!r}")
        if options.get("watch"):
            raise InvalidArgument("watch is for jobs that are enqueued one by one")
        given, text = self.job(payload, options, takes_refs=True)
        return NewJob(given, text, ref)

    def job(
        self, payload: object, options: Any, *, takes_refs: bool = False
    ) -> tuple[dict[str, Any], str]:
        """The arguments of a job, and its payload as JSON text."""
        given = self.arguments(options, takes_refs=takes_refs)
        text = self.encode(payload)
        if self._group_of is not None and "group_key" not in given:
            given |= self.own_arguments(text)
        return given, text

    def own_arguments(self, text: str) -> dict[str, Any]:
        """The arguments that the handler's functions give for a payload, which is JSON text."""
        return {} if self._group_of is None else group_argument(self._group_of(self.decode(text)))

    def arguments(
        self, options: Any, known: type = EnqueueOptions, *, takes_refs: bool = False
    ) -> dict[str, Any]:
        """The arguments of a job: the handler's own options, and over them those of a call.

        An option of the call that is None stands for the handler's own.
        """
        if not self._has_default_options:
            own: dict[str, Any] = dict(self.options)
            options = own | {n: v for n, v in options.items() if v is not None or n not in own}
        try:
            return job_arguments(self.job_type, options, known, takes_refs=takes_refs)
        except TypeError as error:
            kind = "" if self._payload_type is None else f", of type {self._payload_type.name}"
            raise TypeError(f"{error}; the payload is the first argument{kind}") from None

    def batch(
        self, payloads: Iterable[object], options: Any, *, reads: bool = True
    ) -> tuple[dict[str, Any], Batch]:
        """What the jobs of a batch share, and the batch.

        ``reads``: whether the handler's type reads the payloads, which takes longer than the rest.
        A function for the group needs that in any case.
        """
        given = self.arguments(options, ManyOptions)
        has_own = self._group_of is not None and "group_key" not in given
        if not has_own and (self._payload_type is None or not reads):
            return given, batch_of(payloads)
        texts = [
            self.encode(payload, f"payloads[{place}]")
            for place, payload in enumerate(several(payloads))
        ]
        return given, batch_of_texts(
            texts, own=[self.own_arguments(text) for text in texts] if has_own else None
        )


class SyncTask(Generic[Q]):
    """Enqueues jobs for a handler, and waits, in code without an event loop. See ``App.sync``."""

    def __init__(self, task: Task[Q, Any]) -> None:
        self._task = task

    def enqueue(
        self,
        payload: Q = NO_PAYLOAD,
        *,
        conn: "SyncConn | None" = None,
        **options: Unpack[EnqueueOptions],
    ) -> Job[Q]:
        """Does what ``Task.enqueue`` does."""
        executor = self._task.app.sync_executor(conn, adds=True)
        return finished(self._task.enqueue(payload, conn=executor, **options))

    def enqueue_many(
        self,
        payloads: Iterable[Q],
        *,
        conn: "SyncConn | None" = None,
        **options: Unpack[ManyOptions],
    ) -> list[int]:
        """Does what ``Task.enqueue_many`` does."""
        executor = self._task.app.sync_executor(conn, adds=True)
        return finished(self._task.enqueue_many(payloads, conn=executor, **options))

    def wait(
        self, jobs: Iterable[Job[Any] | int], *, timeout: timedelta | None = None
    ) -> list[Outcome]:
        """Does what ``App.wait`` does."""
        return finished_in_thread(self._task.app.wait([*jobs], timeout=timeout))


def _checked_place(run_in: str | None, is_async: bool) -> str | None:
    """Where a plain function runs, ``thread`` or ``process``; None for a coroutine function."""
    if run_in not in (None, "thread", "process"):
        raise InvalidArgument(f"run_in must be 'thread' or 'process', not {run_in!r}")
    if is_async and run_in is not None:
        raise InvalidArgument(
            f"run_in={run_in!r} is for plain functions: write `def` in place of `async def`"
        )
    return None if is_async else run_in or "thread"
