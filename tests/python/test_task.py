import dataclasses
import functools
from datetime import timedelta

import pytest
from pydantic import BaseModel, ValidationError

from pgjobs import App, Backoff, Job, JobStatus, RunningJob
from pgjobs.job.job import Column

HOUR = timedelta(hours=1)


class Ingest(BaseModel):
    path: str
    pages: int = 1


@dataclasses.dataclass
class Plain:
    path: str


def task(handler, **options):
    return App().job("t", **options)(handler)


@pytest.mark.parametrize("annotation", [Job[Ingest], RunningJob[Ingest], "Job[Ingest]"])
def test_the_payload_is_of_the_annotated_type(annotation):
    async def handler(job):
        pass

    handler.__annotations__["job"] = annotation
    assert task(handler).decode('{"path": "a"}') == Ingest(path="a")


def test_dataclasses_and_plain_types_are_payloads_too():
    async def of_dataclass(job: Job[Plain]): ...
    async def of_dict(job: Job[dict[str, int]]): ...

    assert task(of_dataclass).decode('{"path": "a"}') == Plain("a")
    assert task(of_dict).decode('{"a": "1"}') == {"a": 1}


def test_a_payload_that_does_not_fit_is_refused():
    async def handler(job: Job[Ingest]): ...

    with pytest.raises(ValidationError):
        task(handler).decode('{"pages": 1}')


def test_a_registered_handler_can_still_be_called():
    def handler(job: Job[Ingest]) -> int:
        return 1

    assert task(handler)(None) == 1


class Counter:
    async def __call__(self, job: Job[Ingest]) -> int:
        return job.payload.pages


@pytest.mark.parametrize(
    "handler",
    [Counter(), Counter().__call__, functools.partial(Counter.__call__, Counter())],
    ids=["object", "method", "partial"],
)
async def test_any_callable_can_be_a_handler(app, conn, handler):
    made = app.job("t")(handler)
    job = await made.enqueue(Ingest(path="a", pages=3))
    await app.worker().run(until_empty=True)
    assert await conn.fetchval("select result from jobs where id = $1", job.id) == "3"


async def test_enqueue_takes_the_handlers_settings_where_none_are_given(app):
    @app.job("t", queue="q", priority=3, max_retries=7, backoff=Backoff.fixed(HOUR))
    async def handler(job: Job[Ingest]): ...

    job = await handler.enqueue(Ingest(path="a"))
    assert (job.queue, job.priority, job.max_retries, job.backoff) == ("q", 3, 7, [HOUR])
    job = await handler.enqueue(Ingest(path="a"), queue="r", priority=0, max_retries=0)
    assert (job.queue, job.priority, job.max_retries, job.backoff) == ("r", 0, 0, [HOUR])
    assert job.payload == {"path": "a", "pages": 1}


async def test_enqueue_many_takes_the_handlers_settings(app, conn):
    @app.job("t", queue="q", priority=3, max_retries=7, backoff=Backoff.fixed(HOUR))
    async def handler(job: Job[Ingest]): ...

    ids = await handler.enqueue_many([Ingest(path="a"), Ingest(path="b")])
    rows = await conn.fetch("select *, payload ->> 'path' as path from jobs order by id")
    assert [row["id"] for row in rows] == ids
    assert [row["path"] for row in rows] == ["a", "b"]
    assert {(r["queue"], r["priority"], r["max_retries"], *r["backoff"]) for r in rows} == {
        ("q", 3, 7, HOUR)
    }


async def test_a_running_job_has_the_fields_of_every_job(app, conn):
    seen = {}

    async def handler(job):
        fields = [name for name, kind in vars(Job).items() if isinstance(kind, Column | property)]
        seen.update({name: getattr(job, name) for name in fields})

    app.job("t")(handler)
    await app.enqueue("t")
    await app.worker().run(until_empty=True)
    row = await conn.fetchrow("select * from jobs")
    assert (seen["status"], seen["attempt"], seen["headers"]) == (JobStatus.PROCESSING, 1, {})
    assert seen["started_at"] == seen["updated_at"] == row["started_at"]
    assert seen["worker"]
    assert [seen[name] for name in ("result", "finished_at", "cancel_requested_at")] == [None] * 3
