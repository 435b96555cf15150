"""How an app adds jobs: alone, in shared statements, many at once, and of several types."""

import json
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Unpack, overload

from pgjobs.connection.executor import commits_each_statement, executor
from pgjobs.connection.open_transaction import open_transaction
from pgjobs.connection.patience import give_up_at, sending_s
from pgjobs.database import Database
from pgjobs.errors import InvalidArgument
from pgjobs.handler.task import Task
from pgjobs.job.job import Job, decoded
from pgjobs.job.payload import NO_PAYLOAD, encode
from pgjobs.producer import arguments
from pgjobs.producer.arguments import EnqueueOptions, ManyOptions
from pgjobs.producer.batch import Batch, batch_of
from pgjobs.producer.connections import Connections
from pgjobs.producer.middleware import EnqueueMiddleware, EnqueueRequest, surrounded
from pgjobs.producer.new_job import NewJob, new_jobs
from pgjobs.producer.uncommitted import Uncommitted
from pgjobs.verbs import Verbs

if TYPE_CHECKING:
    from pgjobs.connection.executor import Conn

log = logging.getLogger("pgjobs.app")

MAX_SHOWN_TYPES = 3  # in such a warning
MAX_WARNINGS = 1_000  # of types without a handler; a program may make up types without end


class Adding(Verbs):
    """The methods of an app that add jobs."""

    schema: str

    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[str, Task[Any, Any]] = {}
        self.enqueue_middlewares: list[EnqueueMiddleware] = []
        self._unknown_types: set[str] = set()

    @abstractmethod
    def _connections(self) -> Connections: ...

    async def enqueue(
        self,
        job_type: str,
        payload: object = NO_PAYLOAD,
        *,
        conn: "Conn | None" = None,
        **options: Unpack[EnqueueOptions],
    ) -> Job[Any, Any]:
        """Adds a job and returns it after the commit; with ``conn``, in conn's transaction.

        ``payload``: a pydantic model, a dataclass or plain JSON data, which must fit the handler if
        this app has one of that type. None is JSON null; a payload that is left out is ``{}``.
        Options: ``queue``, ``priority`` (-9 to 9, higher first),
        ``max_retries``, ``backoff``. ``run_at``: not before this moment (with a time zone), or
        ``delay``: not before this much later. ``reference``: type and id or key of an entity.
        ``unique_key``: if a job of this type holds the key, ``on_conflict`` decides: ``return``
        that job, ``raise``, ``replace`` what waits, or ``debounce`` it, until ``max_wait``
        after its first call at most. ``unique_scope``: how long a job holds its key, until it ends
        (``live``) or begins (``pending``), for ``unique_for`` (``period``), or with its row
        (``kept``). ``group_key``: the job's group within its queue. ``headers``: metadata beside
        the payload. ``expires``: the latest start, a moment or a delay. ``watch``: keeps the
        outcome until it was read, also where workers delete completed jobs. ``InvalidArgument``: no
        job was added. Without ``conn``, ``ConnectionLost``: no answer came, at the latest after a
        minute; ``may_exist`` says whether the job may have been added.
        """
        task = self._task_of(job_type) if self.tasks else None
        if task is None:
            given = arguments.job_arguments(job_type, options)
            text = encode(payload, "the payload")
        else:
            given, text = task.job(payload, options)
        return await self.enqueue_text(given, text, conn)

    def _task_of(self, job_type: str) -> Task[Any, Any] | None:
        """The task of that type; if there is none, the log says so once."""
        if not isinstance(job_type, str):
            return None  # refused later
        task = self.tasks.get(job_type)
        is_new = task is None and job_type not in self._unknown_types
        if is_new and len(self._unknown_types) < MAX_WARNINGS:
            self._unknown_types.add(job_type)
            log.warning(
                "a job of type %r is enqueued, and this app has no handler of that type%s",
                job_type, _alternatives(job_type, self.tasks),
            )
        return task

    def enqueue_text(
        self, given: dict[str, Any], text: str, conn: "Conn | None"
    ) -> Awaitable[Job[Any, Any]]:
        """Adds a job as ``enqueue`` does; its payload is JSON text already."""
        if self.enqueue_middlewares:
            return self._enqueue_surrounded(given, text, conn)
        return self._add_text(given, text, conn)

    async def _enqueue_surrounded(
        self, given: dict[str, Any], text: str, conn: "Conn | None"
    ) -> Job[Any]:
        request = EnqueueRequest(given, lambda: [json.loads(text)])
        with surrounded(self.enqueue_middlewares, request) as answer:
            answer.append(await self._add_text(request.arguments(), text, conn))
        job: Job[Any] = answer[0]
        return job

    def _add_text(
        self, given: dict[str, Any], text: str, conn: "Conn | None"
    ) -> Awaitable[Job[Any]]:
        # No coroutine of its own: each costs a small enqueue half a hundredth.
        if conn is not None:
            return self._enqueue_within(conn, given, text)
        connections = self._connections()
        if connections.producer.takes(given):
            return connections.producer.enqueue(given, text, self)
        return self._enqueue_by_itself(connections, given, text)

    async def _enqueue_within(
        self, conn: "Conn", given: dict[str, Any], text: str
    ) -> Job[Any]:
        """Adds a job in the transaction of ``conn``, and notes which transaction that is."""
        adding = executor(conn)
        job = await Database(adding, self.schema, self).enqueue(payload=text, **given)
        if not commits_each_statement(adding):
            job._source = Uncommitted(self, open_transaction(conn))
        return job

    async def _enqueue_by_itself(
        self, connections: Connections, given: dict[str, Any], text: str
    ) -> Job[Any]:
        """Adds a job by a statement that it shares with no other call."""
        borrower = await connections.borrower(give_up_at(text))
        return await Database(borrower, self.schema, self).enqueue(payload=text, **given)

    @overload
    async def enqueue_many(
        self,
        job_type: str,
        payloads: Iterable[object],
        *,
        conn: "Conn | None" = None,
        **options: Unpack[ManyOptions],
    ) -> list[int]: ...
    @overload
    async def enqueue_many(
        self, job_type: Iterable[NewJob[Any]], /, *, conn: "Conn | None" = None
    ) -> list[int]: ...
    async def enqueue_many(
        self,
        job_type: str | Iterable[NewJob[Any]],
        payloads: Iterable[object] | None = None,
        *,
        conn: "Conn | None" = None,
        **options: Unpack[ManyOptions],
    ) -> list[int]:
        """Adds a job for each payload, all or none; ids in the same order. See ``enqueue``.

        ``enqueue_many([task.new(payload), other.new(payload)])`` adds jobs of several types. A job
        may name one before it by its ``ref``: ``new(payload, depends_on=["ref"])``.

        The payloads are not read by the handler's type, which would take longer than all the rest:
        use ``enqueue_many`` of the task for that.
        """
        if not isinstance(job_type, str):
            if payloads is not None or options:
                raise InvalidArgument("give options to each job: task.new(payload, priority=5)")
            return await self._enqueue_new([*new_jobs(job_type)], conn)
        if payloads is None:
            raise InvalidArgument("payloads is missing: enqueue_many(job_type, payloads)")
        task = self._task_of(job_type) if self.tasks else None
        if task is None:
            given = arguments.job_arguments(job_type, options, ManyOptions)
            batch = batch_of(payloads)
        else:
            given, batch = task.batch(payloads, options, reads=False)
        return await self.enqueue_batch(given, batch, conn)

    async def _enqueue_new(
        self, jobs: "list[NewJob[Any]]", conn: "Conn | None"
    ) -> list[int]:
        """Adds jobs of several types; a middleware sees them as one call."""
        if not jobs or not self.enqueue_middlewares:
            return await self._add_new(jobs, conn)
        first = {name: v for name, v in jobs[0].arguments.items() if name != "headers"}
        request = EnqueueRequest(
            first, lambda: [job.payload for job in jobs], len(jobs),
            others=[job.arguments for job in jobs[1:]],
        )
        with surrounded(self.enqueue_middlewares, request) as answer:
            marked = [job.with_headers(request.headers) for job in jobs]
            answer.extend(await self._add_new(marked, conn))
        return answer

    async def _add_new(self, jobs: "list[NewJob[Any]]", conn: "Conn | None") -> list[int]:
        async def text(database: Database) -> str:
            items = [job.item(await self._shared({**job.arguments}, database)) for job in jobs]
            return f"[{','.join(items)}]" if items else ""

        return await self._add_many(text, conn)

    async def enqueue_batch(
        self, given: dict[str, Any], batch: Batch, conn: "Conn | None"
    ) -> list[int]:
        """Adds the jobs of a batch, all or none; ids in the same order."""
        if not self.enqueue_middlewares:
            return await self._add_batch(given, batch, conn)

        def payloads() -> list[Any]:
            text = batch.text({"job_type": given["job_type"]})
            return [item["payload"] for item in json.loads(text or "[]")]

        request = EnqueueRequest(given, payloads, batch.count)
        with surrounded(self.enqueue_middlewares, request) as answer:
            answer.extend(await self._add_batch(request.arguments(), batch, conn))
        return answer

    async def _add_batch(
        self, given: dict[str, Any], batch: Batch, conn: "Conn | None"
    ) -> list[int]:
        async def text(database: Database) -> str:
            return batch.text(await self._shared(given, database))

        return await self._add_many(text, conn)

    async def _add_many(
        self, text_of: Callable[[Database], Awaitable[str]], conn: "Conn | None"
    ) -> list[int]:
        """Adds the jobs of a text, which a database's clock may have a part in."""
        if conn is not None:
            database = Database(adding := executor(conn), self.schema)
            # A sync call whose connection is its own knows that this statement adds no job.
            asking = getattr(adding, "asking", adding)
            text = await text_of(Database(asking, self.schema))
        else:
            deadline = give_up_at()
            connections = self._connections()
            borrower = await connections.borrower(deadline, adds=False)
            text = await text_of(Database(borrower, self.schema))
            borrower = await connections.borrower(deadline + sending_s(text))
            database = Database(borrower, self.schema)
        return await database.enqueue_many(text) if text else []

    def result_of(self, job: Job[Any], text: str | None) -> Any:
        """Reads a job's result as its handler's annotation says; plain data without a handler."""
        task = self.tasks.get(job.job_type)
        return decoded(text) if task is None else task.read_result(text)

    @staticmethod
    async def _shared(given: dict[str, Any], database: Database) -> dict[str, Any]:
        """What all items of a batch share; a delay is a moment by the database's clock."""
        for moment in arguments.MOMENTS & given.keys():
            given[moment] = await database.moment(given[moment])
        return arguments.as_item(given)


def _alternatives(job_type: str, known: Iterable[str]) -> str:
    """The known types like this one, for the end of a sentence; all if none is like it."""
    from difflib import get_close_matches

    if alike := get_close_matches(job_type, known, MAX_SHOWN_TYPES):
        return f": did you mean {' or '.join(map(repr, alike))}?"
    shown = [repr(name) for name, _ in zip(known, range(MAX_SHOWN_TYPES), strict=False)]
    return f": it has {', '.join(shown)}{', ...' if len([*known]) > len(shown) else ''}"
