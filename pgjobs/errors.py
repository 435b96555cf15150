"""The errors of pgjobs: one class per SQLSTATE of the SQL functions.

A subclass of ``asyncpg.PostgresError`` that names a ``sqlstate`` is what asyncpg itself raises for
it, so no layer in between translates anything.
"""

from asyncpg.exceptions import PostgresError


class PgjobsError(Exception):
    """Anything that pgjobs raises by itself."""


class JobNotFound(PgjobsError, PostgresError):
    """There is no job with that id."""

    sqlstate = "JQ001"


class JobNotHeld(PgjobsError, PostgresError):
    """The job is not in a status that allows this, or another worker holds it by now."""

    sqlstate = "JQ002"


class InvalidArgument(PgjobsError, PostgresError):
    """An argument is missing, of the wrong type or out of range; nothing was changed."""

    sqlstate = "JQ003"


class DuplicateJob(PgjobsError, PostgresError):
    """Another job holds that unique key."""

    sqlstate = "JQ004"


class SchemaMismatch(PgjobsError, PostgresError):
    """The tables are missing, not ours, or of another version than this code needs."""

    sqlstate = "JQ005"


class WorkerNameTaken(PgjobsError, PostgresError):
    """A living worker has that name."""

    sqlstate = "JQ006"
