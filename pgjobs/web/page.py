"""What a page and an action are, and what they are given."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, TypeAlias, TypeVar

from pgjobs.database import Database
from pgjobs.web.access import Rights
from pgjobs.web.links import Links
from pgjobs.web.lookups import FRESH_FOR_S, Lookups, Question, Seen
from pgjobs.web.options import Options

T = TypeVar("T")

MAX_FORM_BYTES = 65_536


class Refused(Exception):
    """A page or an action that is not given; the message says why, and what to do."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class GivenBack(Refused):
    """An action that is not taken; the page at its address shows what was sent, to be mended."""

    def __init__(self, message: str) -> None:
        super().__init__(HTTPStatus.BAD_REQUEST, message)


@dataclass
class Asked:
    """A request for a page: what it names, what it may see, and how it looks things up."""

    query: Mapping[str, Sequence[str]]
    path: Mapping[str, str]
    rights: Rights
    links: Links
    lookups: Lookups
    until: float  # when the page is answered at the latest, by the event loop's clock
    options: Options = field(default_factory=Options)
    given_back: Mapping[str, Sequence[str]] = field(default_factory=dict)  # a form's fields
    problem: str | None = None  # why the form is given back
    is_led_here: bool = False  # a page or a form of this console has led to the page
    troubles: dict[str, None] = field(default_factory=dict)
    stale_s: float = 0.0  # the age of the oldest answer that is not a fresh one

    def one(self, name: str) -> str | None:
        """The part of the query with that name; None if it is missing or empty."""
        return one_of(self.query, name)

    def redacted(
        self, job_type: str, name: str, text: str | None, max_chars: int | None = None
    ) -> str | None:
        """A payload, result, error, progress or headers as it may be shown."""
        return self.options.redacted(job_type, name, text, max_chars)

    async def look(
        self, key: Hashable, question: Question[T], at_once_for_s: float = 0.0
    ) -> Seen[T]:
        """Asks the database, or gives what it answered last; the page then tells the age.

        ``at_once_for_s``: an answer of that age is good enough, while the database is asked again;
        it is asked no more often than twice in that time.
        """
        seen = await self.lookups.look(
            key, question, self.until, fresh_for_s=max(FRESH_FOR_S, at_once_for_s / 2),
            at_once_for_s=at_once_for_s,
        )
        if seen.trouble is not None:
            self.troubles[seen.trouble] = None
            self.stale_s = max(self.stale_s, seen.age_s)
        return seen

    async def value(
        self, key: Hashable, question: Question[T], at_once_for_s: float = 0.0
    ) -> T | None:
        """The answer itself; None if there never was one."""
        return (await self.look(key, question, at_once_for_s)).value


@dataclass(frozen=True)
class Sent:
    """What a form has sent: what its address names, its fields, and what its sender may do."""

    path: Mapping[str, str]
    fields: Mapping[str, Sequence[str]]
    rights: Rights

    def one(self, name: str) -> str | None:
        """The field with that name; None if it is missing or empty."""
        return one_of(self.fields, name)

    def name_of(self, kind: str) -> str:
        """The field ``name``, which says which queue, schedule or other ``kind`` is meant."""
        name = self.one("name")
        if name is None:
            raise Refused(HTTPStatus.BAD_REQUEST, f"name a {kind}")
        return name


@dataclass(frozen=True)
class Then:
    """The page that is shown after an action: its path, and the parts of its query."""

    path: str
    query: Mapping[str, object] = field(default_factory=dict)


# A dataclass, whose fields are the page's JSON; or a Response, which is sent as it is.
View: TypeAlias = Any


@dataclass(frozen=True)
class Page:
    """A page: its address, what makes its view, its template, its name in the navigation."""

    path: str
    view: Callable[[Asked], Awaitable[View]]
    template: str | None
    name: str | None = None  # None: not in the navigation


@dataclass(frozen=True)
class Action:
    """What a form does: its address, its name among ``ACTIONS``, and the call that it makes."""

    path: str
    name: str
    call: Callable[[Database, Sent], Awaitable[Then]]
    max_form_bytes: int = MAX_FORM_BYTES


def one_of(values: Mapping[str, Sequence[str]], name: str) -> str | None:
    """The last value of that name; None if it is missing or empty."""
    value = values.get(name, [""])[-1]
    if "\0" in value:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name}: PostgreSQL has no text with a zero byte")
    return value or None


async def nothing() -> None:
    """Stands for a look-up of what may not be seen."""


async def together(*calls: Awaitable[Any]) -> list[Any]:
    """Awaits look-ups side by side, so that one that is held up holds up no other."""
    return await asyncio.gather(*calls)


def job_id(text: str) -> int:
    """The id of a job that an address names; raises ``Refused`` if there cannot be one."""
    if text.isascii() and text.isdigit() and len(text) <= 19 and 0 < int(text) < 2**63:
        return int(text)
    raise Refused(HTTPStatus.NOT_FOUND, f"{text[:40]} is not the id of a job: ids are numbers")


def no_job(number: int) -> Refused:
    """What is raised for a job that is not there."""
    return Refused(HTTPStatus.NOT_FOUND, f"there is no job {number}: it may have been deleted")


def refuse_unless_allowed(rights: Rights, action: str) -> None:
    """Raises ``Refused`` if the rights do not have that action of ``ACTIONS``."""
    if action not in rights.actions:
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "the database takes no changes now" if rights.is_read_only
            else f"you, or the console's database role, may not do this: {action}",
        )


def moment_of(name: str, text: str) -> datetime:
    """The moment in a part of an address or a form, in UTC; raises ``Refused`` if it is none."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Refused(HTTPStatus.BAD_REQUEST, f"{name}: {text[:40]} is not a moment with a time zone")


def seconds(duration: timedelta | None) -> float | None:
    """A duration as the views have it."""
    return None if duration is None else duration.total_seconds()
