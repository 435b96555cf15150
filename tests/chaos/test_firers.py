"""Workers that fire schedules are killed, and their statements cut: one job for each tick."""

import asyncio
import random
from typing import Any

import pytest
from chaos.load import Size, ended
from chaos.processes import Processes, eventually
from chaos.report import Note

SCHEDULES = 30
# Each worker fires all of them in about 0.3 s, so a kill often comes within.
SLOW = """create function slow() returns trigger language plpgsql as $$
    begin perform pg_sleep(0.01); return new; end $$;
    create trigger slow before insert on jobs for each row execute function slow()"""
DECLARE = """select jobs_schedule('s' || n, 'work', every => '1 s', payload => '{"seconds": 0}',
    missed => 'all', overlap => 'allow') from generate_series(1, $1) n"""
# A firing statement that is cut is rolled back as a whole.
CUT = """select count(pg_terminate_backend(pid)) from pg_stat_activity
    where datname = current_database() and state = 'active' and query like '%_jobs_worker_fire%'
        and pid <> pg_backend_pid()"""
TICKS = """with ticks as (
    select headers ->> 'pgjobs.schedule' as name,
        (headers ->> 'pgjobs.scheduled_for')::timestamptz as tick
    from jobs)
    select count(*) as jobs, count(*) - count(distinct (name, tick)) as twice,
        -- All ticks between the first one of a schedule and the last one that it has passed.
        (select sum(extract(epoch from s.last_at - f.first) + 1)::bigint
         from jobs_schedules s
         join (select name, min(tick) as first from ticks group by 1) f on f.name = s.name)
            as expected,
        count(distinct name) as schedules
    from ticks"""


@pytest.mark.fault(
    24,
    "SIGKILL of one of three workers, and a cut of the statements that fire, again and again, while"
    " 30 schedules have a tick each second",
    "exactly one job for each tick of each schedule, and each runs",
)
async def test_firers_that_are_killed_neither_lose_a_tick_nor_fire_one_twice(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    alive = [workers.start() for _ in range(3)]
    await ledger.execute(SLOW)
    await ledger.execute(DECLARE, SCHEDULES)
    cuts = 0
    for _ in range(3 * size.times):
        await asyncio.sleep(random.uniform(0.2, 0.9))
        if random.random() < 0.5:
            alive.pop(random.randrange(len(alive))).kill()
            alive.append(workers.start())
        async with asyncio.timeout(30):
            while not (cut := await ledger.fetchval(CUT)):
                await asyncio.sleep(0.01)
        cuts += cut
    fired = await ledger.fetchval("select count(*) from jobs")
    await eventually(
        lambda: ledger.fetchval("select count(*) > $1 from jobs", fired + 2 * SCHEDULES), "it fires"
    )
    each = """select count(*) = $1 from jobs_schedules s where exists (
        select from jobs j where j.headers ->> 'pgjobs.schedule' = s.name)"""
    await eventually(lambda: ledger.fetchval(each, SCHEDULES), "each schedule has fired")
    await ledger.execute("select jobs_schedule_pause(name) from jobs_schedules order by name")
    await ended(ledger)
    found = await ledger.fetchrow(TICKS)
    figures(jobs=found["jobs"], lost=found["expected"] - found["jobs"] + found["twice"],
            seconds=None, what="")
    assert found["schedules"] == SCHEDULES
    assert found["twice"] == 0
    assert found["jobs"] == found["expected"]
    assert await ledger.fetchval("select count(*) from jobs where status <> 'completed'") == 0
    assert cuts >= 3 * size.times
