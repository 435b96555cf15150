"""The app: its handlers, its database, and the workers that bring them together."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, Unpack, cast, overload
from weakref import ref

import asyncpg
from typing_extensions import TypeVar  # with a default, as Python's own since 3.13

from pgjobs.adding import Adding
from pgjobs.connection.blocking import blocking, warn_in_atomic_block
from pgjobs.connection.dsn import redact, resolve
from pgjobs.connection.executor import Executor, executor
from pgjobs.connection.patience import give_up_at
from pgjobs.connection.tether import tether
from pgjobs.database import Database
from pgjobs.errors import InvalidArgument
from pgjobs.handler.held_job import HeldJob, Holder
from pgjobs.handler.middleware import Around, check_middleware
from pgjobs.handler.run import Run
from pgjobs.handler.task import GroupOf, Task
from pgjobs.job.backoff import Backoff
from pgjobs.job.job import Job, P
from pgjobs.job.payload import NO_PAYLOAD
from pgjobs.many import Many
from pgjobs.producer import arguments
from pgjobs.producer.arguments import EnqueueOptions, JobOptions
from pgjobs.producer.connections import Connections
from pgjobs.producer.declared import as_json
from pgjobs.producer.middleware import (
    EnqueueMiddleware,
    check_enqueue_middleware,
)
from pgjobs.schedules import Schedules
from pgjobs.settings import Settings
from pgjobs.sync_verbs import SyncVerbs
from pgjobs.watching.thread import close_in_thread
from pgjobs.watching.watcher import Watcher

if TYPE_CHECKING:
    from pgjobs.connection.blocking import SyncConn
    from pgjobs.connection.executor import Conn
    from pgjobs.connection.kept import Kept
    from pgjobs.worker.worker import Worker

log = logging.getLogger("pgjobs.app")

Q = TypeVar("Q")
R = TypeVar("R")

# What the lifespan of a worker's run yields.
S = TypeVar("S", default=Any)
M = TypeVar("M", bound="Middleware")
N = TypeVar("N", bound=EnqueueMiddleware)

Lifespan = Callable[["App[Any]"], AbstractAsyncContextManager[S]]


class RunningJob(HeldJob[P]):
    """The job that a handler is given: the row, the app, and ``transaction()``."""

    __slots__ = ()

    @property
    def app(self) -> "App[Any]":
        """The job's app; ``app.state`` is what the app's lifespan yielded."""
        return cast(App, self._app)


# Runs the handler, and returns what the handler returns.
CallNext = Callable[[RunningJob[Any]], Awaitable[Any]]
Middleware = Callable[[RunningJob[Any], CallNext], Awaitable[object]]


class Register(Protocol):
    """What ``App.job`` returns: a decorator that keeps the types of payload and result."""

    @overload
    def __call__(self, handler: Callable[[RunningJob[Q]], Awaitable[R]], /) -> Task[Q, R]: ...
    @overload
    def __call__(self, handler: Callable[[RunningJob[Q]], R], /) -> Task[Q, R]: ...


class App(Adding, Many, Schedules, Settings, Generic[S]):
    """Handlers by job type, and the database that their jobs are in.

    ``dsn``: where the database is; else PGJOBS_DSN, DATABASE_URL, or libpq's PG* variables.
    ``schema``: where pgjobs is installed. ``lifespan``: as in Starlette, makes an async context
    manager that surrounds a worker's run. What it yields is ``app.state``: an object of a class of
    yours, whose type the app then has, or a mapping, whose keys become attributes.
    ``pool_size``: connections for ``job.transaction()``, and as many for calls without ``conn``;
    in each event loop that the app is used in.
    """

    @overload
    def __init__(
        self: "App[Any]",
        dsn: str | None = None,
        schema: str = "public",
        lifespan: Lifespan[Mapping[str, Any] | None] | None = None,
        *,
        pool_size: int = 10,
    ) -> None: ...
    @overload
    def __init__(
        self,
        dsn: str | None = None,
        schema: str = "public",
        *,
        lifespan: Lifespan[S],
        pool_size: int = 10,
    ) -> None: ...
    def __init__(
        self,
        dsn: str | None = None,
        schema: str = "public",
        lifespan: Lifespan[Any] | None = None,
        *,
        pool_size: int = 10,
    ) -> None:
        super().__init__()
        self._given_dsn = dsn
        self.schema = schema
        self._included: list[App[Any]] = []
        self.middlewares: list[Around] = []
        self._last_state: Any = State()
        self._lifespan = lifespan
        self._pool_size = pool_size
        self._kept: Kept | None = None  # the connection of the sync calls
        # The event loop and the process of the last call, and the app's connections there: to look
        # them up costs a thirtieth of a small enqueue.
        self._latest: tuple[ref[asyncio.AbstractEventLoop], int, ref[Connections]] | None = None

    def __repr__(self) -> str:
        return f"<App {redact(self._given_dsn)} schema={self.schema} types={list(self.tasks)}>"

    @property
    def state(self) -> S:
        """What ``lifespan`` yielded for the worker's run that the caller is a part of.

        Outside of such a run: for the run that began last.
        """
        state: S = _states.get().get(self, self._last_state)
        return state

    @property
    def dsn(self) -> str:
        """The database's address; "" stands for libpq's PG* variables."""
        return resolve(self._given_dsn)

    @property
    def sync(self) -> SyncVerbs:
        """The verbs as plain functions, for code without an event loop."""
        return SyncVerbs(self)

    @property
    def version(self) -> str:
        """The installed version of pgjobs."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("pgjobs-queue")
        except PackageNotFoundError:
            return "unknown"

    @property
    def declarations(self) -> dict[str, str]:
        """What the code declares, by kind, as JSON."""
        declared = {"schedules": self.schedules, "retention": self.retention,
                    "limits": self.limits}
        return {kind: as_json(of_kind.values()) for kind, of_kind in declared.items()}

    def connect_to(self, dsn: str | None = None, schema: str | None = None) -> None:
        """Sets another database or schema than the app was made with; call it before any use."""
        self.close_sync()
        self._given_dsn = dsn or self._given_dsn
        self.schema = schema or self.schema

    def job(
        self,
        job_type: str,
        *,
        queue: str = "default",
        priority: int = 0,
        max_retries: int = 3,
        timeout: timedelta | None = None,
        backoff: Backoff | None = None,
        run_in: Literal["thread", "process"] | None = None,
        group_key: str | GroupOf | None = None,
        concurrency: int | None = None,
    ) -> Register:
        """Registers a handler: ``async def handler(job: Job[Payload]) -> Result``.

        The settings are for jobs that this app enqueues, unless the call gives others; ``timeout``
        limits each run. ``run_in``: where a plain ``def`` runs, in a ``"thread"`` or in
        a child ``"process"``, which a timeout can end. ``group_key``: the group of the jobs within
        their queue, or a function that gives it for a payload. ``concurrency``: how many of them
        each worker runs at once. Raises ``InvalidArgument`` if the
        type has a handler already.
        """
        if not isinstance(job_type, str) or not job_type:
            raise InvalidArgument("write the job type: @app.job('file_ingestion')")
        if job_type in self.tasks:
            raise InvalidArgument(f"job type {job_type} has a handler already")
        group_of = group_key if callable(group_key) else None
        options: JobOptions = {
            "queue": queue, "priority": priority, "max_retries": max_retries, "backoff": backoff,
            "group_key": None if callable(group_key) else group_key,
        }
        arguments.job_arguments(job_type, options)
        arguments.check_settings(priority, max_retries, timeout, concurrency)

        def register(handler: Callable[[RunningJob[Any]], Any], /) -> Task[Any, Any]:
            task = Task[Any, Any](
                self, handler, str(job_type), timeout=timeout, run_in=run_in, group_of=group_of,
                concurrency=concurrency, **options,
            )
            self.tasks[task.job_type] = task
            return task

        return register

    def include(self, other: "App[Any]") -> None:
        """Takes over what another app, of another module, has declared by now.

        These are its handlers, schedules, limits and retention. Its tasks then enqueue by this app,
        and its ``state`` is that of this app. Raises ``InvalidArgument``, and takes nothing, if
        both have a handler of one type, for example.
        """
        if not isinstance(other, App) or cast(object, other) is self:
            raise InvalidArgument(f"include takes another app, not {other!r:.100}")
        if other._lifespan or other.middlewares or other.enqueue_middlewares:
            raise InvalidArgument(
                "the included app has a lifespan or a middleware, and those of the including app"
                " hold for all its jobs: give them to that app"
            )
        for what, ours, theirs in (
            ("handler of type", self.tasks, other.tasks),
            ("schedule", self.schedules, other.schedules),
            ("limit of queue", self.limits, other.limits),
            ("retention of", self.retention, other.retention),
        ):
            if both := ours.keys() & theirs.keys():
                raise InvalidArgument(
                    f"both apps have a {what} {', '.join(sorted(both))}: remove one, or rename it"
                )
        for task in other.tasks.values():
            task.app = self
        self.tasks |= other.tasks
        self.schedules |= other.schedules
        self.limits |= other.limits
        self.retention |= other.retention
        self._included += [other, *other._included]

    def middleware(self, middleware: M) -> M:
        """Surrounds each run: ``async def middleware(job: RunningJob, call_next: CallNext)``.

        ``await call_next(job)`` runs the handler, whose result or exception stands. What the
        middleware itself raises ends the run as if the handler had raised it. The timeout of the
        job and its cancellation hold for both. The first middleware is the outermost.
        """
        check_middleware(middleware)
        self.middlewares.append(middleware)
        return middleware

    def enqueue_middleware(self, middleware: N) -> N:
        """Surrounds each call that adds jobs, async or sync: ``def middleware(request)``.

        A plain generator: before ``jobs = yield`` it may change ``request.headers``, and after it
        has what the call returns, as a list. What it raises, the call raises.
        """
        check_enqueue_middleware(middleware)
        self.enqueue_middlewares.append(middleware)
        return middleware

    def _watcher(self) -> Watcher:
        return self._connections().watcher

    async def _database(self, conn: "Conn | None") -> Database:
        if conn is not None:
            return Database(executor(conn), self.schema, self)
        borrower = await self._connections().borrower(give_up_at(), adds=False)
        return Database(borrower, self.schema, self)

    def sync_executor(
        self, conn: "SyncConn | None", *, adds: bool = False, reads: bool = False
    ) -> Executor:
        """What runs the statements of one sync call that adds jobs, or only reads, or neither."""
        if conn is not None:
            return blocking(conn)
        if not reads:
            warn_in_atomic_block()
        if (kept := self._kept) is None:
            # Here, since it loads psycopg.
            from pgjobs.connection.kept import Kept

            with _making_kept:  # two threads may come here
                self._kept = kept = self._kept or Kept(_session_name())
        return kept.call(self, adds=adds)

    def close_sync(self) -> None:
        """Closes the connections of the sync calls without ``conn``."""
        if self._kept is not None:
            self._kept.close()
        close_in_thread(self.close())

    def worker(
        self,
        *,
        queues: Sequence[str] | None = None,
        concurrency: int = 100,
        name: str | None = None,
        lease: timedelta = timedelta(minutes=1),
        grace: timedelta = timedelta(seconds=30),
        keep_completed: bool = True,
        listen_dsn: str | None = None,
        plain_concurrency: int = 20,
    ) -> "Worker":
        """Makes a worker for this app's handlers: ``await app.worker().run()``.

        ``queues``: in order of preference; None: those of the handlers. ``concurrency``: jobs at
        the same time. ``name``: must differ from any living worker's; a worker that restarts under
        its old name takes its jobs back at once. ``lease``: a worker that hangs for longer loses
        its jobs. ``grace``: the time
        that running jobs have at shutdown before they are given back. ``keep_completed``: False
        deletes completed jobs at once. ``listen_dsn``: a direct address for LISTEN where ``dsn`` is
        a pooler. ``plain_concurrency``: plain functions at the same time, each in a thread or child
        process, where it may hold a database connection of its own.
        """
        # Here, since who only enqueues need not load it.
        from pgjobs.worker.worker import Worker

        return Worker(
            self, queues=queues, concurrency=concurrency, name=name, lease=lease, grace=grace,
            keep_completed=keep_completed, plain_concurrency=plain_concurrency,
            listen_dsn=None if listen_dsn is None else resolve(listen_dsn),
        )

    async def migrate(self) -> list[str]:
        """Runs ``pgjobs.migrate`` for this app's database and schema, in a thread."""
        from pgjobs.schema.migrate import migrate

        return await asyncio.to_thread(migrate, self.dsn, self.schema)

    async def open(self) -> Self:
        """Makes the app ready in this event loop, as the first call without ``conn`` does."""
        self._connections()
        return self

    def _connections(self) -> Connections:
        """The app's connections in the running event loop; each event loop has its own."""
        loop = asyncio.get_running_loop()
        if (latest := self._latest) is not None:  # another thread may change it meanwhile
            of_loop, of_process, of_both = latest
            if of_loop() is loop and of_process == os.getpid() and (here := of_both()):
                return here
        kept = tether().kept
        found: Connections | None = kept.get(self)
        if found is None:
            found = kept[self] = Connections(
                self.dsn, self.schema, name=_session_name(), pool_size=self._pool_size
            )
        self._latest = ref(loop), os.getpid(), ref(found)
        return found

    async def pool(self) -> asyncpg.Pool:
        """Returns this event loop's pool of connections for handlers and ``job.transaction()``."""
        return await self._connections().for_handlers()

    async def close(self) -> None:
        """Sends the jobs that wait to be enqueued and closes the connections of this event loop.

        Those of another event loop are closed there, or when that loop ends.
        """
        self._latest = None
        found: Connections | None = tether().kept.pop(self, None)
        if found is not None:
            await found.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def held_job(self, run: Run, holder: Holder) -> RunningJob[Any]:
        """Makes the job that a handler is given."""
        return RunningJob(run, self, holder)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Surrounds a worker's run with the lifespan given to the app."""
        was_open = self in tether().kept
        try:
            if self._lifespan is None:
                yield
            else:
                async with self._lifespan(self) as made:
                    state = as_state(made)
                    for app in (self, *self._included):
                        app._last_state = state
                    with self.with_state(state):
                        yield
        finally:
            if not was_open:
                await self.close()


    @contextmanager
    def with_state(self, state: Any) -> Iterator[None]:
        """Lets ``app.state`` be this in the block, and in the tasks and threads that it starts."""
        of_this = dict.fromkeys((self, *self._included), state)
        token = _states.set({**_states.get(), **of_this})
        try:
            yield
        finally:
            _states.reset(token)


class State(SimpleNamespace):
    """What ``app.state`` is without a lifespan, or with one that yields a mapping or nothing."""

    def __getattr__(self, name: str) -> Any:
        if vars(self):
            raise AttributeError(
                f"app.state has no {name!r}: the lifespan yields {', '.join(vars(self))}"
            )
        raise AttributeError(
            f"app.state has no {name!r}: it has what the lifespan, App(lifespan=...), yields while"
            " a worker of the app runs; in a test, give it by make_job(..., state=...)"
        )


def as_state(made: Any) -> Any:
    """What ``app.state`` is when the lifespan has yielded this."""
    if made is None or isinstance(made, Mapping):
        return State(**(made or {}))
    return made


def _session_name() -> str:
    # An interpreter within another program may have no arguments.
    argv: list[str] = getattr(sys, "argv", None) or [""]
    return f"pgjobs {os.path.basename(argv[0]) or 'app'}"


# By app: what its lifespan yielded for the run of a worker that this context is a part of.
_states: ContextVar[Mapping[App, Any]] = ContextVar("pgjobs states", default=MappingProxyType({}))
_making_kept = threading.Lock()
os.register_at_fork(
    before=_making_kept.acquire, after_in_parent=_making_kept.release,
    after_in_child=_making_kept.release,
)
_default = App()
sync = _default.sync  # of the default app


async def enqueue(
    job_type: str,
    payload: object = NO_PAYLOAD,
    *,
    conn: "Conn | None" = None,
    **options: Unpack[EnqueueOptions],
) -> Job[Any, Any]:
    """``App.enqueue`` of the default app, whose DSN comes from the environment."""
    return await _default.enqueue(job_type, payload, conn=conn, **options)


async def close() -> None:
    """Closes the connections of the default app."""
    await _default.close()
