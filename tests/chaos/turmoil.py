"""Queues with limits under turmoil, and a ledger of all starts and ends by triggers of the test.

The ledger is read in the order of the commits. A claim that saw an end committed after that end,
and a claim that got the lock of another one committed after that one. So the ledger shows each
limit that was exceeded.
"""

import asyncio
import random
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from chaos.load import connected
from chaos.processes import Process, Processes

from pgjobs.testing import FAST_SETTINGS

SETTINGS = {**FAST_SETTINGS, "track_commit_timestamp": "on"}
MAX_BACKLOG = 3_000
ENDS_WITHIN_S = 120
SCRIPT = "limited.py"
QUEUES = ["per_group", "ordered", "whole", "rated"]
LEDGER = """
    create table starts_and_ends (job_id bigint, queue text, group_key text, worker text, delta int,
        is_last boolean, claim_began_at timestamptz default now(),
        noted_at timestamptz default clock_timestamp());
    create table changes (queue text, max_running int, max_running_per_group int);
    create table begun (group_key text, at timestamptz, attempt int);
    create function note() returns trigger language plpgsql as $$ begin
        insert into starts_and_ends (job_id, queue, group_key, worker, delta, is_last)
        select n.id, n.queue, n.group_key, coalesce(n.worker, o.worker),
            (n.status = 'processing')::int - (o.status = 'processing')::int,
            n.finished_at is not null and o.finished_at is null
        from n join o using (id)
        where n.status is distinct from o.status;
        return null;
    end $$;
    create trigger note after update on jobs referencing old table as o new table as n
        for each statement execute function note()"""
ADD = """insert into jobs (queue, group_key, job_type, payload, backoff)
    select w.queue, case when w.groups > 0 and not (w.queue = 'whole' and n % 2 = 0)
            then 'group ' || floor(random() * random() * w.groups) end,
        case when random() < 0.3 then 'other' else 'limited' end,
        jsonb_build_object('seconds', (random() * 0.01)::float,
            'end', case when random() < 0.2 then ceil(random() * 4)::int else 0 end),
        '{50 ms}'
    from (values ('per_group', 40, 0.41), ('ordered', 30, 0.3), ('whole', 5, 0.25),
        ('rated', 10, 0.04)) w(queue, groups, share)
    cross join generate_series(1, ceil($1 * w.share)::int) n
    order by md5(w.queue || n)"""
SCHEDULE = """select jobs_schedule('s' || n, 'limited', every => '2 s', queue => 'whole',
    payload => '{"seconds": 0, "end": 0}', missed => 'all', overlap => 'allow')
    from generate_series(1, 5) n"""
TICKS = """select count(*) as ticks, count(*) - count(distinct (headers ->> 'pgjobs.schedule',
    headers ->> 'pgjobs.scheduled_for')) as ticks_twice
    from jobs where headers ? 'pgjobs.schedule'"""
STARTS = """select count(*) filter (where delta = 1) as starts,
    count(*) filter (where delta = 1 and worker like 'old-%') as by_old from starts_and_ends"""
WITHOUT_A_TURN = """select count(*) from jobs j
    where j.status = 'pending' and j.group_key is not null and not exists (
        select from jobs_turns t where t.queue = j.queue and t.group_key = j.group_key)"""
LEFT = "select count(*) from jobs where status in ('pending', 'processing')"
CANCEL = """select jobs_cancel(id) from jobs where status in ('pending', 'processing')
    and id >= (select min(id) + floor(random() * 1000)::bigint from jobs where status = 'pending')
    order by id limit 3"""
RELEASE = """select jobs_release_many(worker, array[id], array[attempt]) from jobs
    where status = 'processing' limit 2"""
CUT = """select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and state = 'active' and query like '%jobs_claim%'
        and pid <> pg_backend_pid() limit 1"""
# By which most each limit was exceeded: the running jobs at a start, less the highest of the limits
# that were in effect from the begin of the claim until its commit.
EXCEEDED = """with event as materialized (
        select e.*, pg_xact_commit_timestamp(e.xmin) as at from starts_and_ends e where delta <> 0
    ), limits as materialized (
        select c.*, c.at as since, lead(c.at, 1, 'infinity') over (partition by queue order by c.at)
            as until
        from (select c.*, pg_xact_commit_timestamp(c.xmin) as at from changes c) c
    ), counted as materialized (
        select e.*, sum(delta) over (partition by queue order by at) as in_queue,
            case when group_key is not null
                then sum(delta) over (partition by queue, group_key order by at) end as in_group
        from event e
    )
    select max(c.in_queue - l.max_running) as over_queue,
        max(c.in_group - l.max_running_per_group) as over_group
    from counted c
    cross join lateral (
        select max(coalesce(l.max_running, 1000000)) as max_running,
            max(coalesce(l.max_running_per_group, 1000000)) as max_running_per_group
        from limits l
        where l.queue = c.queue and l.since <= c.at
            and l.until >= c.claim_began_at - interval '1 s'
    ) l
    where c.delta = 1"""
# Jobs of a group in order that began before all those with lower ids had ended for good.
OUT_OF_ORDER = """with job as (
        select j.id, j.group_key, e.began_at, coalesce(e.ended_at, 'infinity') as ended_at
        from jobs j
        left join (
            select job_id, min(pg_xact_commit_timestamp(xmin)) filter (where delta = 1) as began_at,
                max(pg_xact_commit_timestamp(xmin)) filter (where is_last) as ended_at
            from starts_and_ends
            where queue = 'ordered'
            group by job_id
        ) e on e.job_id = j.id
        where j.queue = 'ordered'
    )
    select count(*) from (
        select began_at, max(ended_at) over (partition by group_key order by id
            rows between unbounded preceding and 1 preceding) as others_ended_at
        from job) o
    where began_at < others_ended_at"""
IN_ANY_WINDOW = """select max(n) from (select count(*) over (partition by {group} order by {at}
    range between interval '0.999999 s' preceding and current row) as n
    from {table} where {which}) w"""
RATE, GROUP_RATE = 20, 5


@dataclass
class Found:
    """What a turmoil came to."""

    seconds: float
    jobs: int
    starts: int
    by_old: int
    kills: int
    changes: int
    without_a_turn: int
    left: int
    ticks: int
    ticks_twice: int
    over_queue: int
    over_group: int
    out_of_order: int
    rate: int
    group_rate: int
    rate_at_first_line: int
    group_rate_at_first_line: int

    @property
    def told(self) -> str:
        """For the report."""
        return (f"long; {self.starts:,} starts, {self.kills} kills, {self.changes} changes of"
                f" limits; {max(0, self.over_queue, self.over_group)} over a limit,"
                f" {self.out_of_order} out of order")

    @property
    def faults(self) -> dict[str, int]:
        """All that must be 0."""
        return {
            "over the limit of a queue": max(0, self.over_queue),
            "over the limit of a group": max(0, self.over_group),
            "out of order": self.out_of_order,
            "over the rate of a queue": max(0, self.rate - RATE),
            "over the rate of a group": max(0, self.group_rate - GROUP_RATE),
            "pending without a turn": self.without_a_turn,
            "left at the end": self.left,
            "ticks fired twice": self.ticks_twice,
        }


async def turmoil(
    dsn: str, workers: Processes, starts: int, *, old: Path | None = None, pause_s: float = 1.0,
) -> Found:
    """Runs jobs until so many starts, and then until all have ended; counts what went wrong.

    ``old``: the folder of an older release, whose code runs two of the four workers.
    ``pause_s``: between two disturbances.
    """
    async with connected(dsn) as conn:
        running = _Turmoil(conn, dsn, workers, old)
        backlog = min(MAX_BACKLOG, starts // 3)
        began = time.monotonic()
        await running.begin(backlog)
        next_at = time.monotonic() + 2 * pause_s
        while (await conn.fetchrow(STARTS))["starts"] < starts:
            await running.look()
            if running.left < backlog:
                await conn.execute(ADD, backlog // 2)
            if time.monotonic() > next_at:
                next_at = time.monotonic() + random.uniform(0.5, 1.5) * pause_s
                await running.disturb()
            await asyncio.sleep(0.1)
        await conn.execute("select jobs_schedule_pause(name) from jobs_schedules")
        deadline = time.monotonic() + ENDS_WITHIN_S
        while running.left and time.monotonic() < deadline:
            await running.look()
            await asyncio.sleep(0.2)
        return await running.found(time.monotonic() - began)


class _Turmoil:
    """Four workers, each with another order of the queues, and what disturbs them."""

    def __init__(
        self, conn: asyncpg.Connection, dsn: str, workers: Processes, old: Path | None
    ) -> None:
        self._conn = conn
        self._dsn = dsn
        self._workers = workers
        self._old = old
        self._alive: list[Process] = []
        self._begun = 0
        self._kills = self._changes = self._without_a_turn = 0
        self.left = 0

    async def begin(self, jobs: int) -> None:
        await self._conn.execute(LEDGER)
        await self._limit("per_group", per_group=2)
        await self._limit("ordered", max_running=12, per_group=1, in_order=True)
        await self._limit("whole", max_running=10)
        await self._conn.execute(
            """select jobs_limit('rated', rate_count => $1, rate_period => '1 s',
                group_rate_count => $2, group_rate_period => '1 s')""", RATE, GROUP_RATE)
        await self._conn.execute(ADD, jobs)
        await self._conn.execute(SCHEDULE)
        self._alive = [self._worker(place) for place in range(len(QUEUES))]

    def _worker(self, place: int) -> Process:
        self._begun += 1
        queues = ",".join(QUEUES[place:] + QUEUES[:place])
        if self._old is None or place % 2 == 0:
            return self._workers.start(dsn=self._dsn, script=SCRIPT, queues=queues)
        return self._workers.start(
            dsn=self._dsn, script=SCRIPT, code=self._old, name=f"old-{self._begun}", queues=queues)

    async def look(self) -> None:
        """Counts, in one snapshot, the pending jobs whose group has no turn."""
        self._without_a_turn += await self._conn.fetchval(WITHOUT_A_TURN)
        self.left = await self._conn.fetchval(LEFT)

    async def disturb(self) -> None:
        match random.randrange(6):
            case 0 | 1:
                place = random.randrange(len(QUEUES))
                if random.random() < 0.8:
                    self._alive[place].kill()
                else:
                    self._alive[place].terminate()
                self._kills += 1
                self._alive[place] = self._worker(place)
            case 2:
                await self._limit("per_group", per_group=random.choice([1, 2, 3]))
                self._changes += 1
            case 3:
                await self._limit("whole", max_running=random.randint(3, 15))
                self._changes += 1
            case 4:
                await self._disturb(CANCEL)
                await self._disturb(RELEASE)
            case 5:
                await self._conn.execute(CUT)

    async def _disturb(self, statement: str) -> None:
        """Changes jobs that a worker may end at the same moment."""
        try:
            await self._conn.execute(statement)
        except asyncpg.PostgresError as error:
            if not str(error.sqlstate).startswith("JQ"):
                raise

    async def _limit(
        self, queue: str, *, max_running: int | None = None, per_group: int | None = None,
        in_order: bool = False,
    ) -> None:
        async with self._conn.transaction():
            await self._conn.execute(
                "insert into changes values ($1, $2, $3)", queue, max_running, per_group)
            await self._conn.execute(
                "select jobs_limit($1, $2, $3, in_order => $4)",
                queue, max_running, per_group, in_order)

    async def found(self, seconds: float) -> Found:
        counts = await self._conn.fetchrow(STARTS)
        over = await self._conn.fetchrow(EXCEEDED)
        ticks = await self._conn.fetchrow(TICKS)
        of_rated = "queue = 'rated' and delta = 1"
        return Found(
            seconds=seconds, jobs=await self._conn.fetchval("select count(*) from jobs"),
            **counts, kills=self._kills, changes=self._changes,
            without_a_turn=self._without_a_turn, left=self.left, **ticks, **over,
            out_of_order=await self._conn.fetchval(OUT_OF_ORDER),
            rate=await self._most("true", "noted_at", "starts_and_ends", of_rated),
            group_rate=await self._most("group_key", "noted_at", "starts_and_ends", of_rated),
            rate_at_first_line=await self._most("true", "at", "begun", "true"),
            group_rate_at_first_line=await self._most("group_key", "at", "begun", "true"),
        )

    async def _most(self, group: str, at: str, table: str, which: str) -> int:
        query = IN_ANY_WINDOW.format(group=group, at=at, table=table, which=which)
        return await self._conn.fetchval(query) or 0
