"""``Job``: a read-only row, with its columns as fields."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, overload

from typing_extensions import TypeVar  # with a default, as Python's own since 3.13

from pgjobs.errors import JobCancelled, JobFailed, PgjobsError

if TYPE_CHECKING:
    from pgjobs.job.attempt import Attempt
    from pgjobs.job.flow import Parent

P = TypeVar("P", covariant=True)
T = TypeVar("T")
# What the job's handler returns. Not Any, since mypy would find the overloads of App.job ambiguous.
Result = TypeVar("Result", covariant=True, default=object)


class JobStatus(StrEnum):
    """Where a job is in its life. Tolerate other values: a newer database may have more."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"


_KNOWN_STATUSES = frozenset(map(str, JobStatus))


class _Decoding(Enum):
    """A copied or unpickled member of an Enum is the same object."""

    NOT_DECODED = "not decoded"


NOT_DECODED: Any = _Decoding.NOT_DECODED


class JobType(StrEnum):
    """Names for four common kinds of jobs. Any other string is as good a job type."""

    FILE_INGESTION = "file_ingestion"
    EMBEDDING_GENERATION = "embedding_generation"
    VECTOR_STORAGE = "vector_storage"
    CLEANUP = "cleanup"


class Row(Protocol):
    """What a driver gives for a row: an asyncpg ``Record``, an SQLAlchemy mapping, a dict."""

    def __getitem__(self, column: str, /) -> Any: ...


class Source(Protocol):
    """What reads a job again and waits for it: its app."""

    async def get(self, job_id: int, *, conn: Any = None) -> "Job[Any, Any]": ...

    async def end_of(self, job: "Job[Any]", within: timedelta | None) -> Row: ...

    def result_of(self, job: "Job[Any]", text: str | None) -> Any: ...

    async def history(self, job_id: int) -> "list[Attempt]": ...

    async def parents(self, job_id: int) -> "list[Parent]": ...


class Column(Generic[T]):
    """A read-only field of a job: the row's column of the same name."""

    __slots__ = ("_name",)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, job: None, owner: type) -> Self: ...
    @overload
    def __get__(self, job: "Job[Any]", owner: type) -> T: ...
    def __get__(self, job: "Job[Any] | None", owner: type) -> Self | T:
        if job is None:
            return self
        value: T = job._value(self._name)
        return value


class Job(Generic[P, Result]):
    """One row of ``jobs``. Fields are read when used: most handlers read two."""

    __slots__ = ("_is_new", "_payload", "_row", "_source")

    id = Column[int]()
    queue = Column[str]()
    job_type = Column[str]()
    priority = Column[int]()
    reference_type = Column[str | None]()
    reference_id = Column[int | None]()
    reference_key = Column[str | None]()
    group_key = Column[str | None]()
    error = Column[str | None]()
    retry_count = Column[int]()
    max_retries = Column[int]()
    crash_count = Column[int]()
    backoff = Column[list[timedelta] | None]()
    attempt = Column[int]()
    run_at = Column[datetime]()
    expires_at = Column[datetime | None]()
    unique_key = Column[str | None]()
    unique_scope = Column[str]()
    batch_id = Column[int | None]()
    depends_on_left = Column[int | None]()
    worker = Column[str | None]()
    started_at = Column[datetime | None]()
    lease_until = Column[datetime | None]()
    cancel_requested_at = Column[datetime | None]()
    created_at = Column[datetime]()
    updated_at = Column[datetime]()
    finished_at = Column[datetime | None]()

    def __init__(
        self, row: Row, payload: P, source: Source | None = None, is_new: bool | None = None
    ) -> None:
        self._row = row
        self._payload = payload
        self._source = source
        self._is_new = is_new

    @classmethod
    def from_row(
        cls, row: Row, source: Source | None = None, is_new: bool | None = None
    ) -> "Job[Any]":
        """The job of a row whose JSON columns are text; its payload is plain JSON data."""
        # Decoded at first use: a payload nested too deeply must not hide the other jobs.
        return Job(row, NOT_DECODED, source, is_new)

    async def refresh(self, *, conn: Any = None) -> "Job[P, Result]":
        """Returns the job as it is in the database now; this object does not change.

        ``conn``: reads in that connection's transaction, as ``App.get`` does. Raises
        ``JobNotFound`` if the job was deleted.
        """
        fresh = await self._app_of("get").get(self.id, conn=conn)
        if fresh._value("payload") == self._value("payload"):
            fresh._payload = self._payload
        return fresh

    async def wait(self, *, timeout: timedelta | None = None) -> Result:  # noqa: ASYNC109
        """Waits until the job has ended, and returns what its handler returned.

        The result is of the type that the handler's annotation says, if the app has the handler;
        else it is plain JSON data. Raises ``JobFailed`` or ``JobCancelled``, ``JobGone`` if the
        job's row was deleted, ``TimeoutError`` after ``timeout``, and ``InvalidArgument`` if the
        transaction that adds the job is not committed. A retry is waited for, too.
        """
        app = self._app_of("wait")
        row = await app.end_of(self, timeout)
        if row["status"] == JobStatus.FAILED:
            raise JobFailed(f"job {self.id} has failed: {row['error']}", error=row["error"])
        if row["status"] == JobStatus.CANCELLED:
            why = "" if row["error"] is None else f": {row['error']}"
            raise JobCancelled(f"job {self.id} was cancelled{why}", error=row["error"])
        result: Result = app.result_of(self, row["result"])
        return result

    async def history(self) -> "list[Attempt]":
        """Returns the last 20 attempts that failed or were lost, the first ones first."""
        return await self._app_of("history").history(self.id)

    async def parents(self) -> "list[Parent]":
        """Returns the jobs that this one waits or has waited for, and their results.

        Of a batch's callback these are the members.
        """
        return await self._app_of("parents").parents(self.id)

    def _app_of(self, verb: str) -> Source:
        if self._source is None:
            argument = [self.id] if verb == "wait" else self.id
            raise PgjobsError(f"job {self.id} does not know its app: call app.{verb}({argument})")
        return self._source

    @property
    def is_new(self) -> bool | None:
        """Whether ``enqueue`` has added this job. False: the job held the ``unique_key`` already.

        It is False too if the call has replaced the job. None for a job that was not returned by
        ``enqueue``.
        """
        return self._is_new

    @property
    def payload(self) -> P:
        """What the handler is given: the annotated type in a handler, else plain JSON data."""
        if self._payload is NOT_DECODED:
            # Null if the caller may not read the job that holds its unique_key.
            self._payload = decoded(self._value("payload"))
        return self._payload

    @property
    def status(self) -> str:
        """A ``JobStatus``, which is a string, or another string if this code does not know it."""
        value: str = self._value("status")
        return JobStatus(value) if value in _KNOWN_STATUSES else value

    @property
    def retries_left(self) -> int:
        """How often the job is retried after further failures."""
        return max(0, self.max_retries - self.retry_count)

    @property
    def result(self) -> Any:
        """What the handler returned, as plain JSON data."""
        return decoded(self._value("result"))

    @property
    def progress(self) -> Any:
        """What the handler reported last, as plain JSON data."""
        return decoded(self._value("progress"))

    @property
    def headers(self) -> Mapping[str, Any]:
        """Metadata of the job, beside the payload."""
        headers = decoded(self._value("headers"))
        return headers if isinstance(headers, dict) else {}

    @property
    def schedule(self) -> str | None:
        """The name of the schedule that enqueued the job."""
        name = self.headers.get("pgjobs.schedule")
        return name if isinstance(name, str) else None

    @property
    def scheduled_for(self) -> datetime | None:
        """The moment for which its schedule enqueued the job: not when the job began."""
        moment = self.headers.get("pgjobs.scheduled_for")
        return datetime.fromisoformat(moment) if isinstance(moment, str) else None

    @property
    def reference(self) -> tuple[str | None, int | str | None]:
        """The source entity: its type, and its id or key."""
        key = self.reference_id if self.reference_key is None else self.reference_key
        return self.reference_type, key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.job_type} {self.status}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Job):
            return NotImplemented
        return self._equality_key() == other._equality_key()

    def __hash__(self) -> int:
        return hash(self.id)

    def _equality_key(self) -> tuple[Any, ...]:
        return tuple(self._value(c) for c in ("id", "status", "attempt", "updated_at"))

    def _value(self, column: str) -> Any:
        return self._row[column]


def decoded(text: str | None) -> Any:
    """The plain JSON data that a column's text stands for."""
    return None if text is None else json.loads(text)
