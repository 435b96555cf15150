"""What a forked child shares with its parent: neither signals nor sessions of the database."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, multiprocessing, os, signal, sys, threading, time
import psycopg
from pgjobs import App

app = App()
fork = multiprocessing.get_context("fork")
sessions = ("select application_name from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid() order by 1")

def sql(query):
    with psycopg.connect(os.environ["PGJOBS_DSN"], autocommit=True) as connection:
        return [row[0] for row in connection.execute(query)]

def ended(child):
    child.join(10)
    code = child.exitcode
    child.kill()
    return code

def enqueue_in_child():
    asyncio.run(app.enqueue("by the child"))
    asyncio.run(app.enqueue("by the child", unique_key=str(os.getpid())))

async def during(act, *, how=None, **options):
    '''Runs a worker, and act() in the handler of its only job.'''
    told = []
    async def handler(job):
        told.append(await act())
    app.tasks.clear()
    app.job("t")(handler)
    await app.enqueue("t", max_retries=0)
    worker = app.worker()
    working = asyncio.create_task(worker.run(**options))
    while not told and not working.done():
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
    assert not working.done(), "the worker has stopped"
    worker.stop()
    await working
    return told[0]
"""


@pytest.fixture
def run(pgjobs_dsn):
    """Runs a program in a process of its own, and returns what it prints."""

    def run(program):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM + program], check=False, capture_output=True, text=True,
            timeout=60, env={**os.environ, "PGJOBS_DSN": pgjobs_dsn, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        assert "Exception ignored" not in done.stderr
        return done.stdout.split()

    return run


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("thread", [False, True], ids=["in the loop", "in a thread"])
def test_a_signal_to_a_child_ends_the_child_and_not_its_parents_worker(run, number, thread):
    assert run(f"""
def act():
    child = fork.Process(target=time.sleep, args=(60,))
    child.start()
    time.sleep(0.3)
    os.kill(child.pid, signal.{number})
    return ended(child)

async def in_the_loop():
    return act()

print(asyncio.run(during((lambda: asyncio.to_thread(act)) if {thread} else in_the_loop)))
""") == [{"SIGTERM": "-15", "SIGINT": "1"}[number]]


def test_a_signal_that_comes_at_once_after_the_fork_ends_the_child(run):
    assert run("""
async def act():
    codes = set()
    for _ in range(300):
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        os.kill(child, signal.SIGTERM)
        codes.add(os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, child, 0))[1]))
    return codes

print(asyncio.run(during(act)))
""") == ["{-15}"]


def test_a_childs_signal_does_not_reach_a_handler_of_its_parents_event_loop(run):
    assert run("""
told = []

async def act():
    child = fork.Process(target=time.sleep, args=(60,))
    child.start()
    await asyncio.sleep(0.3)
    child.terminate()
    await asyncio.sleep(0.3)
    child.kill()
    return told

async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.append, "stop")
    print(await during(act, signals=False))

asyncio.run(main())
""") == ["[]"]


def test_a_child_that_outlives_its_parent_keeps_no_session(run):
    # The parent is killed while its child lives on; a third process looks at the sessions.
    found = run("""
victim = os.fork()
if not victim:
    async def act():
        async with (await app.pool()).acquire():
            await app.enqueue("t2", unique_key="k")
            child = fork.Process(target=time.sleep, args=(30,))
            child.start()
            print(child.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    asyncio.run(during(act))
os.waitpid(victim, 0)
deadline = time.monotonic() + 5
while (left := sql(sessions)) and time.monotonic() < deadline:
    time.sleep(0.05)
print(len(left))
""")
    os.kill(int(found[0]), 9)
    assert found[1:] == ["0"]


def test_a_child_that_ends_leaves_its_parents_sessions_alone(run):
    assert run("""
import gc

def child_ends():
    gc.collect()  # what the child inherited

async def act():
    before = sql(sessions)
    child = fork.Process(target=child_ends)
    child.start()
    assert ended(child) == 0
    await app.enqueue("t2")
    return sql(sessions) == before

print(asyncio.run(during(act)))
""") == ["True"]


def test_a_child_enqueues_by_connections_of_its_own(run):
    assert run("""
async def act():
    child = fork.Process(target=enqueue_in_child)
    child.start()
    code = await asyncio.to_thread(ended, child)
    await app.enqueue("by the parent")
    await app.enqueue("by the parent", unique_key="parent")
    return code, sql("select job_type from jobs where job_type <> 't' order by 1")

code, types = asyncio.run(during(act))
print(code, len(types), len(set(types)))
""") == ["0", "4", "2"]


def test_a_child_runs_a_worker_of_its_own_and_its_signal_stops_it(run):
    assert run("""
def work():
    other = App()
    @other.job("for the child")
    async def handler(job):
        os.kill(os.getpid(), signal.SIGTERM)
    asyncio.run(other.enqueue("for the child"))
    asyncio.run(other.worker().run())

async def act():
    child = fork.Process(target=work)
    child.start()
    return await asyncio.to_thread(ended, child)

print(asyncio.run(during(act)), *sql("select status from jobs where job_type = 'for the child'"))
""") == ["0", "completed"]


def test_an_app_used_before_the_fork_works_on_in_parent_and_children_with_the_same_event_loop(run):
    # As a server does that loads the program before it forks its workers.
    *backends, count = run("""
loop = asyncio.new_event_loop()
async def backend():
    return await (await app.pool()).fetchval("select pg_backend_pid()")
def enqueue(n):
    loop.run_until_complete(app.enqueue("t"))
    loop.run_until_complete(app.enqueue("t", unique_key=f"{os.getpid()} {n}"))
    print(loop.run_until_complete(backend()), flush=True)
enqueue(0)
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        enqueue(1)
        os._exit(0)
    children.append(child)
    os.waitpid(child, 0)
    enqueue(len(children) + 1)
loop.close()
print(*sql("select count(*) from jobs"))
""")
    assert count == "14"
    assert len(backends) == 7
    assert len(set(backends)) == 4  # one of the parent, which stays, and one of each child


def test_a_child_that_execs_inherits_no_session(run):
    assert run("""
import subprocess

async def act():
    code = "import os; print(sum(1 for n in range(3, 256) if os.path.exists(f'/proc/self/fd/{n}')"
    code += " and os.readlink(f'/proc/self/fd/{n}').startswith('socket')))"
    return subprocess.run([sys.executable, "-c", code], close_fds=False, capture_output=True,
                          text=True).stdout

print(asyncio.run(during(act)))
""") == ["0"]
