"""Look-ups that all viewers share: one at a time for each question, and none that takes long."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import asyncpg

from pgjobs.connection.connector import Connector
from pgjobs.connection.link import BROKEN
from pgjobs.connection.tether import tether
from pgjobs.database import Database
from pgjobs.database.bound import LOOK_UP_ENDS_AFTER_S, bounded
from pgjobs.errors import JobNotFound, PgjobsError, SchemaMismatch

log = logging.getLogger("pgjobs.web")

T = TypeVar("T")
Question = Callable[[Database], Awaitable[T]]

FRESH_FOR_S = 2.0
# A server that hangs does not end a look-up.
LOOK_UP_GIVES_UP_AFTER_S = 5.0
MAX_CONNECTIONS = 6
MAX_KEPT_ANSWERS = 200
# A viewer chooses the keys of look-ups, and who asks for thousands at once must not hold up all.
MAX_LOOK_UPS_AT_ONCE = 300
NO_ANSWER = f"the database gave no answer within {LOOK_UP_ENDS_AFTER_S} s"
TOO_MANY = "too much is asked of the console at once: load the page again"


@dataclass(frozen=True)
class Seen(Generic[T]):
    """The answer to a look-up, or the last one that there was.

    ``value``: None if there never was one. ``trouble``: why the answer is not a fresh one.
    """

    value: T | None
    age_s: float = 0.0
    trouble: str | None = None


@dataclass
class _Kept:
    value: Any = None
    read_at: float | None = None
    trouble: str | None = None
    task: "asyncio.Task[None] | None" = None
    is_for: int = 0  # how many changes the console had made when the look-up began


@dataclass
class _Here:
    """What a console has in one event loop."""

    pool: asyncpg.Pool
    kept: "OrderedDict[Hashable, _Kept]" = field(default_factory=OrderedDict)
    changes: int = 0
    look_ups: int = 0  # that have begun and not ended

    def ended(self, _: "asyncio.Task[None]") -> None:
        """Notes that a look-up has ended."""
        self.look_ups -= 1

    async def close(self) -> None:
        tasks = [kept.task for kept in self.kept.values() if kept.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self.pool.terminate()


class Lookups:
    """Asks the database; what was read less than two seconds ago is not asked again.

    The connections are those of the running event loop, made when they are first used, because
    nobody starts or stops an application that is mounted within another one.
    """

    def __init__(self, dsn: Callable[[], str], schema: Callable[[], str]) -> None:
        self._dsn = dsn
        self._schema = schema

    async def look(
        self, key: Hashable, question: Question[T], until: float, *,
        fresh_for_s: float = FRESH_FOR_S, at_once_for_s: float = 0.0,
    ) -> Seen[T]:
        """Returns the answer, or what is known at the moment ``until`` of the event loop's clock.

        ``key`` stands for the question: whoever asks with the same key gets the same answer. An
        answer younger than ``at_once_for_s`` is given at once, while the database is asked again.
        """
        here = await self._here()
        is_full = here.look_ups >= MAX_LOOK_UPS_AT_ONCE
        if is_full and key not in here.kept:
            return Seen(None, trouble=TOO_MANY)
        kept = here.kept.setdefault(key, _Kept())
        here.kept.move_to_end(key)
        if not _is_younger(kept, here, fresh_for_s):
            is_enough = _is_younger(kept, here, at_once_for_s)
            if kept.task is None or kept.task.done() or kept.is_for != here.changes:
                if is_full:
                    return _seen(kept, TOO_MANY)
                _forget_oldest(here)
                kept.is_for = here.changes
                kept.task = asyncio.create_task(self._read(here, kept, question))
                here.look_ups += 1
                kept.task.add_done_callback(here.ended)
            if is_enough:
                return _seen(kept, None)
            while (task := kept.task) is not None:
                left_s = until - asyncio.get_running_loop().time()
                # Others may wait for the same task, so nobody's impatience ends it.
                await asyncio.wait({task}, timeout=max(left_s, 0))
                if not task.done():
                    return _seen(kept, NO_ANSWER)
                if task is kept.task:  # else another task looks again, after a change
                    task.result()  # raises what nobody has foreseen
                    break
        return _seen(kept, kept.trouble)

    async def change(self, call: Question[T]) -> T:
        """Runs a call that changes something; each look-up after it asks the database again."""
        here = await self._here()
        try:
            return await self._run(here, call)
        finally:
            here.changes += 1

    async def changed(self) -> None:
        """Says that another connection has changed something."""
        (await self._here()).changes += 1

    async def close(self) -> None:
        """Ends the look-ups and connections of this event loop."""
        found: _Here | None = tether().kept.pop(self, None)
        if found is not None:
            await found.close()

    async def _here(self) -> _Here:
        kept = tether().kept
        found: _Here | None = kept.get(self)
        if found is None:
            connector = Connector(self._dsn(), name="pgjobs web")
            pool = asyncpg.create_pool(min_size=0, max_size=MAX_CONNECTIONS, connect=connector)
            found = kept[self] = _Here(await pool)
        return found

    async def _read(self, here: _Here, kept: _Kept, question: Question[Any]) -> None:
        """Notes the answer, or why there is none; the last answer stays."""
        value, trouble = None, None
        try:
            value = await self._run(here, question)
        except JobNotFound:
            pass  # an answer: there is no such job
        except asyncpg.QueryCanceledError:
            trouble = NO_ANSWER
        except SchemaMismatch as error:
            trouble = str(error).partition("\n")[0]
        except asyncpg.InsufficientPrivilegeError:
            trouble = (
                "the console's database role may not read this: let the owner run pgjobs grant ROLE"
                " observer, or admin for all of a job"
            )
        except (*BROKEN, TimeoutError, asyncpg.PostgresError, PgjobsError) as error:
            # An error's text may name users and hosts, and a viewer may not be meant to know them.
            log.warning("a look-up of the console failed: %s", error)
            trouble = "the database could not be read: the log of the console says why"
        if kept.task is not asyncio.current_task():
            return  # a later look-up has begun, after a change
        kept.trouble = trouble
        if trouble is None:
            kept.value, kept.read_at = value, time.monotonic()

    async def _run(self, here: _Here, call: Question[T]) -> T:
        async with (
            asyncio.timeout(LOOK_UP_GIVES_UP_AFTER_S),
            here.pool.acquire() as connection,
        ):
            try:
                async with bounded(connection):
                    return await call(Database(connection, self._schema()))
            except asyncio.CancelledError:
                # To roll back would be to wait for a server that may never answer.
                connection.terminate()
                raise


def _is_younger(kept: _Kept, here: _Here, age_s: float) -> bool:
    """Whether there is an answer of that age, and nothing was changed since by the console."""
    return (
        kept.read_at is not None
        and kept.trouble is None
        and kept.is_for == here.changes
        and time.monotonic() - kept.read_at < age_s
    )


def _seen(kept: _Kept, trouble: str | None) -> Seen[Any]:
    age_s = 0.0 if kept.read_at is None else time.monotonic() - kept.read_at
    return Seen(kept.value, age_s, trouble)


def _forget_oldest(here: _Here) -> None:
    """Forgets what was asked for longest ago, except what is being read."""
    for key in list(here.kept):
        if len(here.kept) <= MAX_KEPT_ANSWERS:
            return
        task = here.kept[key].task
        if task is not None and task.done():
            del here.kept[key]
