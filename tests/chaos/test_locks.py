"""Every function that locks rows, at the same time, on the same rows, in opposite orders."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from chaos.load import Size, add
from chaos.report import Note

from pgjobs import PgjobsError
from pgjobs.database import Database

SESSIONS = 12
ROWS = 60
HELD = "select id, attempt from jobs where status = 'processing' order by random() limit $1"
FRESH = "status = 'pending' and crash_count = 0 and run_at <= clock_timestamp()"
DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"
MINUTE = timedelta(minutes=1)
# No function deletes a job that has not begun.
NOTE_DELETED = """create table deleted (status text);
    create function note_deleted() returns trigger language plpgsql as $$
    begin insert into public.deleted values (old.status); return null; end $$;
    create trigger note_deleted after delete on jobs for each row execute function note_deleted()"""


class Tally:
    """Counts what all sessions have done."""

    def __init__(self) -> None:
        self.enqueued = 0
        self.statements = 0
        self.settled: list[tuple[int, int]] = []  # ids and attempts that have ended
        self.errors: list[object] = []


@pytest.mark.fault(
    10,
    "complete, delete, fail, release, cancel, clean up, recover, heartbeat, retry, claim, watch,"
    " change and count flows at once on the same rows, in opposite orders, from 12 sessions for"
    " 60 s",
    "no deadlock; no attempt ends twice",
)
async def test_opposite_orders_of_locks_never_deadlock(
    ledger: Any, pgjobs_dsn: str, size: Size, figures: Note
) -> None:
    tally = Tally()
    await ledger.execute(NOTE_DELETED)
    async with asyncio.TaskGroup() as sessions:
        until = asyncio.get_running_loop().time() + size.seconds
        for _ in range(SESSIONS):
            sessions.create_task(_act(pgjobs_dsn, until, tally))
    left = await ledger.fetchval("select count(*) from jobs")
    deleted = await ledger.fetchval("select count(*) from deleted where status <> 'pending'")
    deadlocks = await ledger.fetchval(DEADLOCKS)
    figures(jobs=tally.enqueued, lost=tally.enqueued - deleted - left,
            twice=len(tally.settled) - len(set(tally.settled)), twice_why="attempts ended twice",
            seconds=size.seconds,
            what=f"long, {tally.statements:,} statements; {deadlocks} deadlocks")
    assert tally.errors == []
    assert deadlocks == 0
    assert tally.enqueued == deleted + left
    assert len(tally.settled) == len(set(tally.settled))
    assert tally.enqueued >= size.jobs


async def _act(dsn: str, until: float, tally: Tally) -> None:
    # The server must detect a deadlock at once; the lock timeout must not end it.
    conn = await asyncpg.connect(
        dsn, server_settings={"deadlock_timeout": "10ms", "lock_timeout": "10s"}
    )
    database = Database(conn, "public")
    actions = [
        _complete, _delete, _fail, _release, _cancel, _clean_up, _recover, _beat, _retry,
        _manage, _watch, _report, _add_children, _count_flows,
    ]
    while asyncio.get_running_loop().time() < until:
        try:
            await _refill(conn, database, tally)
            rows = await conn.fetch(HELD, random.randint(1, ROWS))
            held = [(row["id"], row["attempt"]) for row in rows]
            if held:
                await random.choice(actions)(database, held, tally)
                tally.statements += 1
        except PgjobsError:
            pass  # a cancel that came too late
        except asyncpg.PostgresError as error:
            tally.errors.append(error)
    await conn.close()


async def _refill(conn: Any, database: Database, tally: Tally) -> None:
    # Suspects do not count: a worker may hold only one.
    if await conn.fetchval(f"select count(*) < {ROWS} from jobs where {FRESH}"):
        added = await add(conn, ROWS, 0)
        tally.enqueued += len(added)
    if await conn.fetchval(f"select count(*) < {ROWS} from jobs where status = 'processing'"):
        await database.claim("w", None, ROWS, MINUTE)


Held = list[tuple[int, int]]


def _ended(tally: Tally, held: Held, ids: list[int]) -> None:
    attempts = dict(held)
    tally.settled += [(job_id, attempts[job_id]) for job_id in ids]


async def _complete(database: Database, held: Held, tally: Tally) -> None:
    ids, attempts = zip(*held, strict=True)
    _ended(tally, held, await database.complete_many("w", ids, attempts, [None] * len(ids)))


async def _delete(database: Database, held: Held, tally: Tally) -> None:
    ids, attempts = zip(*held, strict=True)
    gone = await database.complete_many("w", ids, attempts, [None] * len(ids), keep=False)
    _ended(tally, held, gone)


async def _fail(database: Database, held: Held, tally: Tally) -> None:
    ids, attempts = zip(*held, strict=True)
    retries, at_once = [random.random() < 0.5] * len(ids), [timedelta(0)] * len(ids)
    _ended(tally, held, await database.fail_many(
        "w", ids, attempts, ["e"] * len(ids), retries, at_once))


async def _release(database: Database, held: Held, tally: Tally) -> None:
    ids, attempts = zip(*held, strict=True)
    _ended(tally, held, await database.release_many("w", ids, attempts))


async def _cancel(database: Database, held: Held, _: Tally) -> None:
    for job_id, _attempt in held[:3]:
        await database.cancel(job_id)


async def _manage(database: Database, held: Held, _: Tally) -> None:
    ids = [job_id for job_id, _ in held]
    random.shuffle(ids)
    await database.edit_many(set_priority=random.randint(-9, 9), job_ids=ids)
    await database.cancel_many(job_ids=ids[:3])
    await database.cancel(ids[0], downstream=True)
    await database.delete_many(job_ids=ids)


async def _watch(database: Database, held: Held, _: Tally) -> None:
    ids = [job_id for job_id, _ in held]
    await database.watch(ids)
    await database.outcomes(ids)


async def _report(database: Database, held: Held, _: Tally) -> None:
    ids, attempts = zip(*held, strict=True)
    await database.progress("w", ids, attempts, ["0.5"] * len(ids))


async def _add_children(database: Database, held: Held, tally: Tally) -> None:
    callback = await database.batch(job_type="work", payload='{"seconds": 0}')
    tally.enqueued += 1
    for policy in ("cancel", "run", "only"):
        parents = [job_id for job_id, _ in random.sample(held, min(len(held), 3))]
        await database.enqueue(
            "work", '{"seconds": 0}', depends_on=parents, on_parent_failed=policy,
            batch_id=callback.id,
        )
        tally.enqueued += 1
    await database.batch_close(callback.id)


async def _count_flows(database: Database, _held: Held, _tally: Tally) -> None:
    await database.flow_attach(random.randint(1, ROWS))
    await database.flow_resolve(random.randint(1, ROWS))


async def _clean_up(database: Database, _held: Held, _tally: Tally) -> None:
    await database.cleanup(timedelta(0), ["completed", "failed", "cancelled"])


async def _recover(database: Database, _held: Held, _tally: Tally) -> None:
    await database.recover("w")


async def _beat(database: Database, held: Held, _: Tally) -> None:
    ids, attempts = zip(*held, strict=True)
    await database.heartbeat("w", ids, attempts, MINUTE)


async def _retry(database: Database, _held: Held, _tally: Tally) -> None:
    await database.retry_many()
