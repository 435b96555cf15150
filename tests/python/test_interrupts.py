"""SIGTERM and SIGINT: which workers stop, and whose handlers the program has afterwards."""

import asyncio
import os
import signal
import threading

import pytest

from pgjobs import App
from pgjobs.testing import drain
from pgjobs.worker.interrupts import interrupts
from pgjobs.worker.mode import Mode

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(params=BOTH, ids=lambda number: number.name)
def number(request):
    return request.param


@pytest.fixture
def heard():
    """What the program's own handlers, set by ``signal``, have heard."""
    told = []
    before = {n: signal.signal(n, lambda number, _: told.append(number)) for n in BOTH}
    yield told
    for n, handler in before.items():
        signal.signal(n, handler)


@pytest.fixture
def begin(eventually):
    """Begins workers of an app, each as a task, and returns once they listen."""

    async def run(app, count=1, **options):
        workers = [app.worker() for _ in range(count)]
        tasks = [asyncio.create_task(worker.run(**options)) for worker in workers]
        await eventually(lambda: all(w._listener.mode is Mode.LISTENING for w in workers))
        return workers, tasks

    return run


def kill(number):
    os.kill(os.getpid(), number)


async def test_a_signal_stops_every_worker_of_the_process(app, quick, heard, begin, number):
    _, tasks = await begin(app, 3)
    kill(number)
    await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert heard == []
    kill(number)
    assert heard == [number]


async def test_a_signal_stops_the_workers_of_other_threads_too(
    app, quick, heard, begin, number, eventually
):
    other = App(app.dsn)
    other.job("t")(quick)
    worker = other.worker()
    thread = threading.Thread(target=lambda: asyncio.run(worker.run()), daemon=True)
    thread.start()
    await eventually(lambda: worker._listener.mode is Mode.LISTENING)
    kill(number)
    assert heard == [number]  # no worker of the main thread has taken the signal
    _, tasks = await begin(app)
    kill(number)
    await asyncio.wait_for(asyncio.gather(*tasks), 5)
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()
    assert heard == [number]


async def test_a_worker_that_ends_leaves_the_signals_to_those_that_still_run(
    app, quick, heard, begin, number
):
    (first, _), (ended, running) = await begin(app, 2)
    first.stop()
    await ended
    await app.enqueue("t")
    await drain(app)
    kill(number)
    await asyncio.wait_for(running, 5)
    assert heard == []


async def test_the_programs_own_handlers_are_back_after_a_drain(app, quick, heard):
    before = [signal.getsignal(number) for number in BOTH]
    await app.enqueue("t")
    await drain(app)
    await app.worker().run(until_empty=True)
    assert [signal.getsignal(number) for number in BOTH] == before


async def test_the_event_loops_own_handlers_are_back_after_a_run(app, quick, heard, begin, number):
    told = []
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(number, told.append, "loop")
    try:
        await begin_and_stop(begin, app)
        kill(number)
        await asyncio.sleep(0.05)
        assert told == ["loop"]
    finally:
        loop.remove_signal_handler(number)


async def begin_and_stop(begin, app):
    (worker,), (task,) = await begin(app)
    worker.stop()
    await task


async def test_a_handler_that_the_program_sets_meanwhile_stays(app, quick, heard, begin, number):
    (worker,), (task,) = await begin(app)
    told = []
    signal.signal(number, lambda *_: told.append("later"))
    worker.stop()
    await task
    kill(number)
    assert told == ["later"]


async def test_a_worker_without_signals_leaves_them_to_the_program(
    app, quick, heard, begin, number
):
    (worker,), (task,) = await begin(app, signals=False)
    kill(number)
    await asyncio.sleep(0.1)
    assert heard == [number]
    assert not worker._stopping
    worker.stop()
    await task


async def test_a_second_worker_takes_the_signals_again_after_the_first_was_stopped_by_one(
    app, quick, heard, begin
):
    for _ in range(2):
        _, tasks = await begin(app)
        kill(signal.SIGTERM)
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert heard == []


async def test_a_signal_passes_over_a_worker_whose_event_loop_is_closed(heard):
    loop = asyncio.new_event_loop()
    worker = interrupts(lambda: None)

    async def begun():
        worker.__enter__()

    stopped = asyncio.Event()
    with interrupts(stopped.set):
        await asyncio.to_thread(lambda: (loop.run_until_complete(begun()), loop.close()))
        kill(signal.SIGTERM)
        await asyncio.wait_for(stopped.wait(), 5)
