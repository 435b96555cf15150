"""Many jobs at once: which ones, a word for what cannot be undone, and step after step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any

from pgjobs.database import Database, manage
from pgjobs.job.job import Row
from pgjobs.web import words
from pgjobs.web.bulk import KINDS, Kind
from pgjobs.web.page import (
    Action,
    Asked,
    Refused,
    Sent,
    Then,
    job_id,
    moment_of,
    one_of,
    refuse_unless_allowed,
)
from pgjobs.web.pages.jobs import STATUSES, Filters
from pgjobs.web.references import reference_columns, told_reference

# A step of so many jobs ends within 0.5 s, also of jobs with groups, keys and children.
STEP_JOBS = 1_000
MAX_COUNTED_JOBS = 10_000
MAX_TICKED_JOBS = 100
SHOWN_JOBS = 10
MAX_DONE_DIGITS = 15


@dataclass(frozen=True)
class First:
    """One of the first jobs that are meant."""

    id: str
    job_type: str
    queue: str
    status: str
    reference: str | None


@dataclass(frozen=True)
class Many:
    """What the page shows; ``jobs``: how many are left, None if the database has not said it."""

    action: str
    verb: str
    ids: list[str]
    filters: Filters
    statuses: list[str]
    as_of: datetime | None
    jobs: int | None
    told_jobs: str | None
    first: list[First]
    has_given_up: bool  # the search did not look through all jobs
    done: int
    told_done: str
    has_ended: bool
    why_left: str | None
    is_final: bool
    goes_on: bool  # a step has led here, so the next one wants no word


@dataclass(frozen=True)
class _Chosen:
    """Which jobs are meant, as the address and the form tell it."""

    ids: list[int]
    filters: Filters
    statuses: list[str]
    as_of: datetime | None
    done: int

    def told(self) -> dict[str, Any]:
        """The parts of an address."""
        return {
            **vars(self.filters), "id": [str(each) for each in self.ids] or None,
            "as_of": self.as_of and self.as_of.isoformat(), "done": self.done,
        }

    def columns(self) -> dict[str, Any]:
        """The filters that a count and a change have in common."""
        filters = self.filters
        return {
            "job_ids": self.ids or None,
            "job_types": None if filters.type is None else [filters.type],
            "queues": None if filters.queue is None else [filters.queue],
            **reference_columns(filters.reference),
        }


async def many(asked: Asked) -> Many:
    """Counts the jobs that are meant, and looks up the first of them."""
    name = asked.one("action") or ""
    if name not in KINDS:
        raise Refused(HTTPStatus.BAD_REQUEST, f"choose what to do: {', '.join(KINDS)}")
    kind = KINDS[name]
    refuse_unless_allowed(asked.rights, kind.action)
    chosen = _chosen(kind, asked.query)
    found = await asked.value(("many", name, str(chosen)), partial(_count, name, chosen))
    as_of, jobs, first, has_more = found or (chosen.as_of, None, [], False)
    is_over = asked.one("ended") is not None or (jobs == 0 and not has_more)
    return Many(
        name, kind.verb, [str(each) for each in chosen.ids], chosen.filters,
        chosen.statuses, as_of, None if jobs is None else min(jobs, MAX_COUNTED_JOBS),
        None if jobs is None else words.total(
            min(jobs, MAX_COUNTED_JOBS), is_capped=has_more
        ),
        first, has_more and jobs is not None and jobs <= MAX_COUNTED_JOBS, chosen.done,
        f"{chosen.done:,} {_jobs(chosen.done)} {kind.done}",
        is_over, kind.why_left if is_over and jobs else None, kind.is_final,
        # A link from elsewhere must not stand for a word that nobody has typed.
        chosen.done > 0 and asked.is_led_here,
    )


async def _step(name: str, database: Database, sent: Sent) -> Then:
    """Changes the next jobs; the page then tells how many are done."""
    kind = KINDS[name]
    chosen = _chosen(kind, sent.fields)
    if chosen.as_of is None:
        raise Refused(HTTPStatus.BAD_REQUEST, "nothing was changed: the form has no moment")
    if kind.is_final and not _is_confirmed(name, sent):
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"nothing was changed: type the number of jobs or the word {name}",
        )
    as_of = min(chosen.as_of, await _now(database))
    filters: manage.Filters = {
        **chosen.columns(),  # type: ignore[typeddict-item]
        "group_keys": None if chosen.filters.group is None else [chosen.filters.group],
        "created_before": as_of, "max_jobs": STEP_JOBS,
    }
    changed = await kind.change(database, chosen.statuses, as_of, filters)
    return Then("/jobs/many", {
        "action": name, **chosen.told(), "as_of": as_of.isoformat(),
        "done": chosen.done + changed, "ended": None if changed else "yes",
    })


STEPS = [
    Action(f"/jobs/many/{name}", kind.action, partial(_step, name))
    for name, kind in KINDS.items()
]


async def _count(
    name: str, chosen: _Chosen, database: Database
) -> tuple[datetime, int, list[First], bool]:
    as_of = chosen.as_of or await _now(database)
    ids, has_more = await database.matching(
        chosen.statuses, as_of, MAX_COUNTED_JOBS + 1, **chosen.columns(),
        group_key=chosen.filters.group,
        finished_before=as_of if name in ("retry", "delete") else None,
        due_after=as_of if name == "run" else None,
    )
    rows = [await database.listed(each) for each in ids[:SHOWN_JOBS]]
    return as_of, len(ids), [_first(row) for row in rows if row is not None], has_more


async def _now(database: Database) -> datetime:
    found = await database.moment(timedelta(0))
    assert found is not None
    return found


def _first(row: Row) -> First:
    return First(
        str(row["id"]), row["job_type"], row["queue"], row["status"], told_reference(row)
    )


def _chosen(kind: Kind, values: Mapping[str, Sequence[str]]) -> _Chosen:
    """Reads an address or a form; raises ``Refused`` for what means no jobs, or not clearly."""
    filters = Filters(**{name: one_of(values, name) for name in vars(Filters())})
    ids = sorted({job_id(each) for each in values.get("id", [])[:MAX_TICKED_JOBS + 1]})
    told = bool(ids) + any(vars(filters).values())
    problem = None
    if len(values.get("id", [])) > MAX_TICKED_JOBS:
        problem = f"at most {MAX_TICKED_JOBS} jobs can be ticked at once"
    elif filters.q is not None:
        problem = "what a text has found can be ticked, but not taken as a whole"
    elif told == 0:
        problem = (
            "say which jobs: tick some, or narrow the list by a status, a queue, a type, a"
            " reference or a group"
        )
    elif told == 2:
        problem = "say which jobs by their ids or by filters, not by both"
    elif filters.status is not None and filters.status not in STATUSES:
        problem = f"there is no status {filters.status[:40]}: choose of {', '.join(STATUSES)}"
    elif filters.status is not None and filters.status not in kind.statuses:
        problem = (
            f"{kind.verb.lower()} takes jobs that are {' or '.join(kind.statuses)}, not"
            f" {filters.status} ones"
        )
    if problem is not None:
        raise Refused(HTTPStatus.BAD_REQUEST, problem)
    statuses = [str(s) for s in kind.statuses if filters.status in (None, s)]
    as_of = one_of(values, "as_of")
    return _Chosen(
        ids, filters, statuses, None if as_of is None else moment_of("as_of", as_of),
        _done(one_of(values, "done")),
    )


def _done(text: str | None) -> int:
    if text is None:
        return 0
    if text.isascii() and text.isdigit() and len(text) <= MAX_DONE_DIGITS:
        return int(text)
    raise Refused(HTTPStatus.BAD_REQUEST, f"done is no number of jobs, but {text[:40]}")


def _is_confirmed(name: str, sent: Sent) -> bool:
    word = (sent.one("word") or "").strip().lower()
    number = word.removesuffix("+").replace(",", "")
    return word == name or (number.isdigit() and number == sent.one("jobs"))


def _jobs(count: int) -> str:
    return "job is" if count == 1 else "jobs are"
