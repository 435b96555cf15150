"""What a user is told when the database has not taken an action."""

import logging
from http import HTTPStatus

import asyncpg

from pgjobs.connection.link import BROKEN
from pgjobs.database.bound import LOOK_UP_ENDS_AFTER_S
from pgjobs.errors import DuplicateJob, JobNotFound, PgjobsError
from pgjobs.web.page import Refused

log = logging.getLogger("pgjobs.web")

REFUSALS = (*BROKEN, asyncpg.PostgresError, PgjobsError)


def refusal_of(error: BaseException, *, shows_payloads: bool) -> Refused:
    """What one of ``REFUSALS`` means.

    Without ``shows_payloads`` the message has no text that may quote a payload or a key.
    """
    match error:
        case JobNotFound():
            return Refused(HTTPStatus.NOT_FOUND, _told(error))
        case asyncpg.InsufficientPrivilegeError():
            return Refused(HTTPStatus.FORBIDDEN, _told(error))
        case asyncpg.QueryCanceledError():
            return Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"nothing was changed: the database gave no answer within {LOOK_UP_ENDS_AFTER_S} s."
                " Another session may have it locked: try again",
            )
        case DuplicateJob() if not shows_payloads:
            return Refused(
                HTTPStatus.CONFLICT,
                "another job holds its unique key: the page of the job says which one",
            )
    if isinstance(error, BROKEN):
        log.warning("an action of the console failed: %r", error)
        return Refused(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "the connection to the database was lost: look at the page, and try again if nothing"
            " was changed",
        )
    if isinstance(error, PgjobsError):
        return Refused(HTTPStatus.CONFLICT, _told(error))
    log.warning("the database refused an action of the console: %s", error)
    told = f": {_told(error)}" if shows_payloads else ", and the console's log says why"
    return Refused(HTTPStatus.CONFLICT, f"nothing was changed: the database refused it{told}")


def _told(error: BaseException) -> str:
    """The first line of an error of the database, with its hint."""
    lines = str(error).splitlines() or [type(error).__name__]
    hint = getattr(error, "hint", None)
    return f"{lines[0]} ({hint})" if hint else lines[0]
