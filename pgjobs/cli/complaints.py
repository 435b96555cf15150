"""Turns an expected error into one line that says what to do next."""

import os
import socket
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import asyncpg
import psycopg
import typer

from pgjobs.connection.drivers import NOT_INSTALLED
from pgjobs.connection.dsn import PG_VARIABLES, redact
from pgjobs.errors import InvalidArgument, JobNotFound, PgjobsError, SchemaMismatch

_LOGIN_REFUSED = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError)

# Which package Typer's errors come from differs between its releases.
_CALLED_WRONGLY: Any = typer.BadParameter.__base__


_NAMES_OF_A_SERVER = PG_VARIABLES | {"PGDATABASE", "PGUSER"}


class Unreachable(PgjobsError):
    """The command cannot connect to the database."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"cannot connect to {where}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Complaint:
    """The line to print, and the exit status: 1 if the command failed, 2 if its input was wrong."""

    line: str
    status: int = 1


def complaint(error: BaseException) -> Complaint | None:
    """Returns the complaint about an expected error, and None for any other error."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return complaint(error.exceptions[0])
    if isinstance(error, InvalidArgument):
        return Complaint(_line(error), 2)
    if isinstance(error, JobNotFound):
        where = "" if getattr(error, "hint", None) else ": pgjobs list shows which there are"
        return Complaint(_line(error) + where)
    if isinstance(error, SchemaMismatch):
        return Complaint(_line(error))
    if isinstance(error, NOT_INSTALLED):
        return Complaint(f"run pgjobs migrate: pgjobs is not installed there ({_line(error)})")
    if isinstance(error, asyncpg.InsufficientPrivilegeError | psycopg.errors.InsufficientPrivilege):
        return Complaint(
            f"{_line(error)}: connect as the owner, or let the owner grant it by pgjobs grant ROLE"
            " producer|worker|observer|admin|reader"
        )
    if isinstance(error, asyncpg.PostgresConnectionError | asyncpg.InterfaceError):
        return Complaint(f"the connection to the database was lost ({_line(error)}): try again")
    if isinstance(error, PgjobsError | asyncpg.PostgresError | psycopg.Error):
        return Complaint(_line(error))
    return None


def usage_complaint(error: BaseException) -> Complaint | None:
    """Returns the complaint about a command that was called wrongly."""
    if not isinstance(error, _CALLED_WRONGLY):
        return None
    text: str = getattr(error, "message", "")
    if isinstance(error, typer.BadParameter) and text:
        # Told by one of our own parsers, which names the value; an option gives it a meaning.
        options = getattr(error.param, "opts", [""])
        return Complaint(f"{options[0]}: {text}" if options[0].startswith("-") else text, 2)
    told: Any = error
    if found := getattr(told, "possibilities", None):
        # By the names without their dashes, which all options have: --since is no error for --dsn.
        name = getattr(told, "option_name", "").lstrip("-")
        told.possibilities = [
            option for option in found if get_close_matches(name, [option.lstrip("-")])
        ]
    text = told.format_message().rstrip(".")
    command = "pgjobs" if told.ctx is None else told.ctx.command_path
    return Complaint(f"{text[:1].lower()}{text[1:]}: see {command} --help", 2)


def unreachable(address: str, error: BaseException) -> Unreachable:
    """Says why connecting to ``address`` failed and what may help; hides the password."""
    if not address and not any(name in os.environ for name in _NAMES_OF_A_SERVER):
        return Unreachable(
            "a local server", "and no address is given: give --dsn, or set PGJOBS_DSN or "
            "DATABASE_URL to an address like postgresql://user:password@host:5432/database, or set "
            "libpq's PGHOST and PGDATABASE",
        )
    where = redact(address) or "the server of libpq's PG* variables"
    return Unreachable(where, _reason(error))


def _reason(error: BaseException) -> str:
    text = _line(error)
    if isinstance(error, ConnectionRefusedError | FileNotFoundError) or "refused" in text:
        return "nothing listens there; start PostgreSQL, or name another by --dsn or PGJOBS_DSN"
    if isinstance(error, TimeoutError):
        return "no answer; check host and port of --dsn or PGJOBS_DSN"
    if isinstance(error, socket.gaierror):
        return "there is no such host; check --dsn or PGJOBS_DSN"
    if isinstance(error, _LOGIN_REFUSED) or "authentication failed" in text:
        return f"{text}; check user and password of --dsn or PGJOBS_DSN"
    if isinstance(error, asyncpg.InvalidCatalogNameError) or "does not exist" in text:
        return f"{text}; make it by createdb, or name another by --dsn or PGJOBS_DSN"
    return text


def _line(error: BaseException) -> str:
    """Returns the first line of the error's message, with the hint of the database."""
    if isinstance(error, psycopg.Error):
        message, hint = error.diag.message_primary or str(error), error.diag.message_hint
    else:
        message, hint = str(error), getattr(error, "hint", None)
        # asyncpg appends the detail and the hint to the message, each on its own line.
    lines = [line for line in message.splitlines() if line.strip()] or [type(error).__name__]
    return f"{lines[0].strip()} ({hint})" if hint else lines[0].strip()
