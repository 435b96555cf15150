"""None, JSON null and {} stay apart, and a handler's payloads fit its type."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pydantic import Base64Bytes, BaseModel, Field, RootModel
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine

import pgjobs
from pgjobs import Backoff, InvalidArgument, Job, JobService

Maybe = RootModel[int | None]


class Ingest(BaseModel):
    path: str
    pages: int = 1


class Settings(BaseModel):
    limit: int = 10


class Longer(Ingest):
    more: int = 2


class Group(BaseModel):
    one: Ingest | None = Field(default=None, alias="first")
    all: list[Ingest] = []


class Other(BaseModel):
    path: str


async def stored(conn):
    rows = await conn.fetch("delete from jobs returning id, payload")
    return [row["payload"] for row in sorted(rows, key=lambda row: row["id"])]


@pytest.mark.parametrize(
    ("given", "payload"), [((), "{}"), (({},), "{}"), ((None,), "null"), ((Maybe(None),), "null")]
)
async def test_none_and_an_empty_object_stay_apart_by_every_way(app, conn, given, payload):
    @app.job("t")
    async def handler(job: Job[Any]) -> None: ...

    await app.enqueue("t", *given)
    await app.enqueue("t", *given, conn=conn)
    await app.enqueue("t", *given, unique_key="k")
    await app.enqueue("t", *given, delay=timedelta(1))
    await handler.enqueue(*given)
    await handler.enqueue(*given, conn=conn)
    await JobService(conn).create("t", **dict(zip(["payload"], given, strict=False)))
    assert await stored(conn) == [payload] * 7
    await asyncio.gather(*(app.enqueue("t", *given) for _ in range(4)))
    await asyncio.gather(*(handler.enqueue(*given) for _ in range(4)), app.enqueue("t", [1]))
    found = await stored(conn)
    assert [text for text in found if text != "[1]"] == [payload] * 8
    for _ in given:
        await app.enqueue_many("t", given)
        await app.enqueue_many("t", [*given, 5, *given])
        await handler.enqueue_many([*given, 5], conn=conn)
        assert await stored(conn) == [payload, payload, "5", payload, payload, "5"]


@pytest.mark.parametrize("kind", [AsyncSession, AsyncConnection])
async def test_none_and_an_empty_object_stay_apart_by_sqlalchemy(app, conn, pgjobs_dsn, kind):
    async def connect():
        import asyncpg

        return await asyncpg.connect(pgjobs_dsn)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    async with AsyncSession(engine) if kind is AsyncSession else engine.connect() as mine:
        await app.enqueue("t", conn=mine)
        await app.enqueue("t", None, conn=mine)
        await app.enqueue_many("t", [None, {}], conn=mine)
        await mine.commit()
    await engine.dispose()
    assert await stored(conn) == ["{}", "null", "null", "{}"]


async def test_the_module_level_enqueue_keeps_none_and_nothing_apart(
    pgjobs_dsn, conn, monkeypatch
):
    monkeypatch.setenv("PGJOBS_DSN", pgjobs_dsn)
    await pgjobs.enqueue("t")
    await pgjobs.enqueue("t", None)
    await pgjobs.close()
    assert await stored(conn) == ["{}", "null"]


async def test_handlers_get_none_where_none_was_enqueued(app):
    seen = []

    @app.job("number")
    async def number(job: Job[int | None]) -> None:
        seen.append(job.payload)

    @app.job("settings")
    async def settings(job: Job[Settings | None]) -> None:
        seen.append(job.payload)

    @app.job("nothing")
    async def nothing(job: Job[None]) -> None:
        seen.append(job.payload)

    await number.enqueue(None)
    await settings.enqueue(None)
    await settings.enqueue()
    await nothing.enqueue(None)
    await app.worker().run(until_empty=True)
    assert seen == [None, None, Settings(limit=10), None]


async def test_a_payload_that_is_left_out_anywhere_fits_a_handler_without_one(app, conn):
    seen = []

    @app.job("nothing", max_retries=0)
    async def nothing(job: Job[None]) -> None:
        seen.append(job.payload)

    await nothing.enqueue()
    await app.enqueue("nothing")
    await conn.execute("select from jobs_enqueue('nothing')")
    await conn.execute("""select from jobs_enqueue_many('[{"job_type": "nothing"}]')""")
    await app.worker().run(until_empty=True)
    assert seen == [None] * 4


async def test_the_app_refuses_a_payload_that_does_not_fit_its_own_handler(app, conn):
    @app.job("t")
    async def handler(job: Job[Ingest]) -> None: ...

    for given in ((), ({"pth": "a"},), (None,), (Settings(),)):
        with pytest.raises(InvalidArgument, match="the payload is"):
            await app.enqueue("t", *given)
    assert (await app.enqueue("t", {"path": "a", "pages": "3"})).payload == {
        "path": "a", "pages": "3"
    }
    # Read for each of many payloads, the type would cost more than all the rest.
    assert len(await app.enqueue_many("t", [{"pth": "a"}])) == 1
    assert len(await app.enqueue_many("elsewhere", [{"pth": "a"}])) == 1
    assert await conn.fetchval("select count(*) from jobs") == 3


async def test_an_object_of_another_class_than_the_handlers_is_named(app):
    @app.job("t")
    async def handler(job: Job[Ingest]) -> None: ...

    with pytest.raises(
        InvalidArgument, match=r"is of class Settings, and the handler of t takes Ingest$"
    ):
        await handler.enqueue(Settings())  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"payloads\[1\] is of class Settings"):
        await handler.enqueue_many([Ingest(path="a"), Settings()])  # type: ignore[list-item]


async def test_an_unknown_option_is_told_before_the_payload_that_it_may_belong_to(app):
    @app.job("t", queue="q")
    async def handler(job: Job[Ingest]) -> None: ...

    @app.job("plain")
    async def plain(job): ...

    for call in (
        lambda: handler.enqueue(path="a"),  # type: ignore[call-arg]
        lambda: handler.enqueue_many(None, path="a"),  # type: ignore[arg-type, call-arg]
        lambda: app.enqueue("t", path="a"),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError, match=r"'path'.*first argument, of type Ingest$"):
            await call()
    with pytest.raises(TypeError, match=r"'path'.*the payload is the first argument$"):
        await plain.enqueue(path="a")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "payload", [{"path": "a"}, {"path": "a", "pages": "3"}, Ingest(path="a", pages=2)]
)
async def test_a_task_takes_a_value_of_its_type_and_plain_data_that_the_type_reads(
    app, conn, payload
):
    seen = []

    @app.job("t")
    async def handler(job: Job[Ingest]) -> None:
        seen.append(job.payload)

    await handler.enqueue(payload)
    await handler.enqueue(payload, conn=conn)
    await handler.enqueue_many([payload, payload])
    await app.worker().run(until_empty=True)
    assert seen == [Ingest.model_validate(payload)] * 4


async def test_a_task_takes_what_its_handler_is_to_be_given(app):
    seen = []

    @app.job("t")
    async def handler(job: Job[Base64Bytes]) -> None:
        seen.append(job.payload)

    await handler.enqueue(b"\xff\x00")
    await app.worker().run(until_empty=True)
    assert seen == [b"\xff\x00"]


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ({"pages": 1}, "the payload is not valid.*\n.*\n.*Field required"),
        ({}, "Field required"), (None, "the payload is not valid"), (5, "should be an object"),
        (Longer(path="a"), "would be read as Ingest"),
        (Other(path="a"), "is of class Other"),
        (Ingest.model_construct(path="a", pages="x"), "valid integer"),
    ],
)
async def test_a_task_refuses_a_payload_that_does_not_fit_its_type(app, conn, payload, problem):
    @app.job("t")
    async def handler(job: Job[Ingest]) -> None: ...

    for call in (
        handler.enqueue(payload), handler.enqueue(payload, conn=conn),
        handler.enqueue(payload, unique_key="k"),
    ):
        with pytest.raises(InvalidArgument, match=problem):
            await call
    for many in ([payload], [Ingest(path="a"), payload]):
        with pytest.raises(InvalidArgument, match=rf"payloads\[{len(many) - 1}\]"):
            await handler.enqueue_many(many)
    with pytest.raises(InvalidArgument):
        await handler.enqueue_many("abc")
    assert await stored(conn) == []


@pytest.mark.parametrize("nested", [{"first": Longer(path="a")}, {"all": [Longer(path="a")]}])
async def test_an_object_of_a_subclass_within_plain_data_is_refused_by_a_task_too(app, nested):
    @app.job("t")
    async def handler(job: Job[Group]) -> None: ...

    with pytest.raises(InvalidArgument, match="would be read as Ingest"):
        await handler.enqueue(nested)
    same = Ingest(path="a")
    job = await handler.enqueue({"first": same, "all": [same, {"path": "b"}]})
    assert job.payload["all"][1] == {"path": "b"}


async def test_a_task_without_a_payload_enqueues_an_empty_object_if_its_type_reads_it(app, conn):
    @app.job("t")
    async def handler(job: Job[Settings]) -> None: ...

    @app.job("u")
    async def other(job: Job[Ingest]) -> None: ...

    assert (await handler.enqueue()).payload == {}
    with pytest.raises(InvalidArgument, match="Field required"):
        await other.enqueue()


async def test_a_validator_that_raises_anything_refuses_the_payload(app):
    class Odd(BaseModel):
        n: float = 1.0

        def model_post_init(self, _: Any) -> None:
            raise errors[int(self.n)]

    errors = [KeyError("x"), SystemExit(1), BaseExceptionGroup("x", [SystemExit(1)])]

    @app.job("t")
    async def handler(job: Job[Odd]) -> None: ...

    for n, error in enumerate(errors):
        with pytest.raises(InvalidArgument, match=f"its class raises {type(error).__name__}"):
            await handler.enqueue({"n": n})


async def test_microseconds_count_by_every_way(app, conn):
    tiny = Backoff.listed(timedelta(microseconds=1), timedelta(days=1, microseconds=1))
    jobs = [await app.enqueue("t", backoff=tiny)]
    jobs += await asyncio.gather(*(app.enqueue("t", backoff=tiny) for _ in range(4)))
    assert {tuple(job.backoff) for job in jobs} == {tiny.delays}
    await app.enqueue_many("t", [1], backoff=tiny)
    await app.enqueue_many("t", [1, 2], backoff=tiny)
    rows = await conn.fetch("select backoff from jobs")
    assert {tuple(row["backoff"]) for row in rows} == {tiny.delays}
