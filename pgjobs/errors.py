"""The errors of pgjobs: one class per SQLSTATE of the SQL functions.

asyncpg raises a subclass of ``asyncpg.PostgresError`` for the ``sqlstate`` that the class names.
Errors of psycopg and SQLAlchemy are translated.
"""

from asyncpg.exceptions import PostgresError


class PgjobsError(Exception):
    """The base class of pgjobs' errors."""


class JobNotFound(PgjobsError, PostgresError):
    """There is no job with that id."""

    sqlstate = "JQ001"


class JobNotHeld(PgjobsError, PostgresError):
    """The job's status does not allow the call, or its worker has lost the job."""

    sqlstate = "JQ002"


class InvalidArgument(PgjobsError, PostgresError):
    """An argument is missing, of the wrong type or out of range; nothing was changed."""

    sqlstate = "JQ003"


class DuplicateJob(PgjobsError, PostgresError):
    """Another job holds that unique key."""

    sqlstate = "JQ004"


class SchemaMismatch(PgjobsError, PostgresError):
    """The tables are missing, not ours, of another version than this code needs, or damaged.

    The message says what to do.
    """

    sqlstate = "JQ005"


class WorkerNameTaken(PgjobsError, PostgresError):
    """A living worker has that name."""

    sqlstate = "JQ006"


class ConnectionLost(PgjobsError, ConnectionError):
    """Enqueueing got no answer: there was no connection, or it broke, or nothing came in time.

    ``may_exist``: the statement was sent, so the job may have been added. False: it was not added,
    and the call can be repeated. ``__cause__`` is the error of the driver. Also raised by
    ``job.transaction()`` if the answer to its COMMIT is lost.
    """

    def __init__(self, message: str, *, may_exist: bool = True) -> None:
        super().__init__(message)
        self.may_exist = may_exist


class JobFailed(PgjobsError):
    """The job that was waited for has failed for good; ``error``: why."""

    def __init__(self, message: str, *, error: str | None = None) -> None:
        super().__init__(message)
        self.error = error


class JobCancelled(PgjobsError):
    """The job that was waited for was cancelled; ``error``: the reason, if one was given."""

    def __init__(self, message: str, *, error: str | None = None) -> None:
        super().__init__(message)
        self.error = error


class JobGone(PgjobsError):
    """The row of the job that was waited for is gone, and with it the outcome."""
