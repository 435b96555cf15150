"""The register of what a worker holds: slots, phases, and what waits ahead."""

import asyncio
from datetime import UTC, datetime

import pytest

from pgjobs.handler.run import Run, Stop
from pgjobs.worker.floors import Floors
from pgjobs.worker.held import Held, Recent
from pgjobs.worker.wake import Wake


def row(job_id, **columns):
    return {
        "id": job_id, "attempt": 1, "job_type": "t", "crash_count": 0, "group_key": None,
        "created_at": datetime(2020, 1, 1, tzinfo=UTC), **columns,
    }


@pytest.fixture
async def register():
    """Makes a register of one slot whose runs end when they are told to."""
    running: list[int] = []
    given_back: list[int] = []
    go = asyncio.Event()

    async def begin(run: Run) -> None:
        running.append(run.key[0])
        if run.stop is None:
            await go.wait()
        running.remove(run.key[0])
        held.end(run, asyncio.get_running_loop().time())
        held.drop(run.key)

    held = Held(1, Wake(), begin=begin, give_back=lambda run: given_back.append(run.key[0]))
    held.open()
    return held, running, given_back, go


async def test_runs_that_are_stopped_while_they_wait_take_no_further_slot(register):
    held, running, _, go = register
    held.take([row(n) for n in range(1, 6)])
    await asyncio.sleep(0)
    for run in list(held._ahead)[:2]:
        held.stop(run, Stop.CANCEL)
    for _ in range(5):
        await asyncio.sleep(0)
        assert len(running) <= 1
    assert held.running == 1
    held.close()
    go.set()
    await held.all_ended(1)


async def test_a_closed_register_gives_back_what_waits_and_what_comes(register):
    held, _, given_back, go = register
    held.take([row(1), row(2)])
    held.close()
    held.take([row(3)])
    assert given_back == [2, 3]
    go.set()
    await held.all_ended(1)


async def test_a_job_of_the_same_id_and_attempt_is_the_same_run(register):
    held, running, given_back, go = register
    held.take([row(1)])
    await asyncio.sleep(0)
    held.take([row(1)])
    assert (len(held), given_back) == (1, [])
    held.take([row(1, created_at=datetime(2021, 1, 1, tzinfo=UTC))])
    assert given_back == [1]
    go.set()
    await held.all_ended(1)
    assert running == []


async def test_nothing_waits_ahead_where_nothing_has_ended_lately(register):
    held, _, _, _ = register
    held.claims_ahead = True
    assert held.room() == 1


def test_recent_counts_the_last_whole_window_or_this_one():
    recent = Recent(0.01)
    recent.begin(100.0)
    recent.now += 2
    recent.begin(100.011)
    assert recent.count(100.012) == 3
    assert recent.count(100.05) == 0
    recent.begin(100.05)
    assert recent.count(100.05) == 1


def test_a_floor_is_not_raised_by_a_statement_that_was_sent_before_it_was_lowered():
    early, late = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC)
    floors = Floors(["q"])
    claimed = {"queue": "q", "priority": 0, "run_at": late, "crash_count": 0, "group_key": None}
    floors.claimed([claimed], floors.lowered)
    sent = floors.lowered
    floors.lower(early, "q", 1 << 9)
    floors.claimed([claimed], sent)
    floors.looked(None, late, sent)
    assert floors.for_claim() == '{"q": {"0": "2020-01-01T00:00:00+00:00"}}'


def test_a_look_that_finds_a_due_job_takes_the_floors_of_claims_back_to_it():
    early, late = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC)
    floors = Floors(["q"])
    claimed = {"queue": "q", "priority": 0, "run_at": late, "crash_count": 0, "group_key": None}
    floors.claimed([claimed], 0)
    floors.looked(early, late, floors.lowered)
    assert floors.for_claim() == floors.for_look()
    assert "2020-01-01" in floors.for_claim()


def test_a_look_that_finds_a_due_job_counts_though_a_signal_came_meanwhile():
    early, late = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC)
    floors = Floors(["q"])
    claimed = {"queue": "q", "priority": 0, "run_at": late, "crash_count": 0, "group_key": None}
    floors.claimed([claimed], 0)
    sent = floors.lowered
    floors.lower(late, "q", 1 << 9)
    floors.looked(early, late, sent)
    assert floors.for_claim() == '{"q": {"0": "2020-01-01T00:00:00+00:00"}}'


def test_news_of_an_unknown_level_is_not_above_what_no_look_has_counted():
    older, emptied = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 3, tzinfo=UTC)
    floors = Floors(["q"])
    floors.looked(None, emptied, floors.lowered)
    floors.lower(older)  # a job of a queue that was paused at the look
    floors.lower(datetime(2020, 1, 4, tzinfo=UTC), "q", 1 << 9)
    assert "2020-01-01" in floors.for_claim()
