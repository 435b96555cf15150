"""A handler is tested alone, with a job that no database has."""

import asyncio
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
