"""A handler is tested alone, with a job that no database has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from pgjobs import App, InvalidArgument, Job, PgjobsError, RunningJob
from pgjobs.testing import make_job


class Receipt(BaseModel):
    order: int


@dataclass
class State:
    greeting: str


app = App()


@app.job("receipt")
async def send(job: RunningJob[Receipt]) -> str:
    return f"{job.app.state.greeting} {job.payload.order}"


@app.job("plain")
def count(job: Job[Receipt]) -> int:
    return job.payload.order + job.attempt


@app.job("long")
async def long(job: RunningJob[None]) -> None:
    while True:
        job.raise_if_stopping()
        await asyncio.sleep(0)


async def test_a_handler_is_called_with_a_typed_payload_and_the_apps_state():
    job = make_job(Receipt(order=7), state=State("hello"))
    assert await send(job) == "hello 7"
    assert await send(make_job(Receipt(order=7), state={"greeting": "hi"})) == "hi 7"
    assert count(make_job(Receipt(order=7), attempt=2)) == 9


@asynccontextmanager
async def lifespan(app: App[State]) -> AsyncIterator[State]:
    yield State("from the worker")


typed = App(lifespan=lifespan)


@typed.job("typed")
async def greet(job: Job[Receipt]) -> str:
    await asyncio.sleep(0)
    return f"{typed.state.greeting} {job.payload.order}"


@typed.job("typed plain")
def greet_from_a_thread(job: Job[Receipt]) -> str:
    return f"{typed.state.greeting} {job.payload.order}"


async def test_the_typed_state_of_the_app_is_that_of_the_job_during_the_call():
    hello, hi = (make_job(Receipt(order=7), state=State(g)) for g in ("hello", "hi"))
    assert await asyncio.gather(greet(hello), greet(hi)) == ["hello 7", "hi 7"]
    assert greet_from_a_thread(hello) == "hello 7"
    assert await asyncio.create_task(greet(make_job(Receipt(order=7), state=State("hey"))))
    with pytest.raises(AttributeError, match=r"no 'greeting'.*give it by make_job"):
        await greet(make_job(Receipt(order=7)))
    with typed.with_state(State("outer")):
        assert await greet(make_job(Receipt(order=7))) == "outer 7"


def test_a_state_that_lacks_a_name_says_what_the_lifespan_yields():
    with pytest.raises(AttributeError, match=r"no 'smpt': the lifespan yields smtp"):
        make_job(state={"smtp": 1}).app.state.smpt  # noqa: B018
    assert not hasattr(App().state, "smtp")


async def test_a_handler_is_given_the_payload_that_a_worker_would_read():
    assert count(make_job({"order": 7})) == 8
    for task in (count, greet):
        with pytest.raises(InvalidArgument, match=r"the payload is not valid.*\norder"):
            await task(make_job({"ordre": 7}))


async def test_a_handler_sees_that_it_should_end():
    assert not make_job().stopping
    make_job().raise_if_stopping()
    job = make_job(None, stopping=True)
    assert job.stopping
    with pytest.raises(asyncio.CancelledError):
        await long(job)


def test_every_column_is_a_field():
    job = make_job({"a": 1}, job_type="mail", reference_id=4, max_retries=5, retry_count=2)
    fields = [name for name in dir(Job) if not name.startswith("_")]
    values = {name: getattr(job, name) for name in fields}
    assert (values["job_type"], values["status"], values["attempt"]) == ("mail", "processing", 1)
    assert (values["reference"], values["retries_left"]) == ((None, 4), 3)
    assert values["payload"] == {"a": 1}
    assert job.log_fields == {"job_id": 1, "job_type": "mail", "queue": "default", "attempt": 1}


@pytest.mark.parametrize("columns", [{"nonsense": 1}, {"retries_left": 1}])
def test_what_is_no_column_is_refused(columns):
    with pytest.raises(InvalidArgument, match=f"a job has no column {min(columns)}"):
        make_job(**columns)


def test_a_payload_that_no_job_may_have_is_refused():
    with pytest.raises(InvalidArgument, match="the payload is not JSON"):
        make_job(float("nan"))


async def test_what_needs_a_database_says_so(monkeypatch):
    monkeypatch.setenv("PGJOBS_DSN", "postgresql:///must_not_be_used")
    job = make_job()
    for use in (
        job.refresh, lambda: job.app.enqueue("t"), lambda: job.app.get(1),
        lambda: job.app.enqueue_many("t", [1]), job.app.pool, lambda: in_transaction(job),
        job.app.migrate,
    ):
        with pytest.raises(PgjobsError, match="made by make_job and has no database"):
            await use()


async def in_transaction(job: RunningJob[object]) -> None:
    async with job.transaction():
        pass
