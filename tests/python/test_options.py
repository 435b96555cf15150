"""The options of enqueue: which there are, what they may be, and where they go."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from pydantic import BaseModel

from pgjobs import Backoff, DuplicateJob, InvalidArgument, Job
from pgjobs.producer.arguments import EnqueueOptions, job_arguments

HOUR = timedelta(hours=1)


@dataclass
class Handle:
    """Stands for a job or a batch."""

    id: int


@pytest.mark.parametrize("key", ["o-1", UUID(int=7)])
@pytest.mark.parametrize("conn_given", [True, False])
async def test_a_reference_that_is_no_number_is_kept_as_a_key(app, conn, key, conn_given):
    job = await app.enqueue("t", reference=("order", key), conn=conn if conn_given else None)
    assert (job.reference, job.reference_id) == (("order", str(key)), None)
    (other,) = await app.enqueue_many("t", [1], reference=("order", key))
    row = await conn.fetchrow("select reference_id, reference_key from jobs where id = $1", other)
    assert tuple(row) == (None, str(key))


async def test_an_unknown_option_is_refused_and_the_known_ones_are_named(app):
    with pytest.raises(TypeError, match=r"'quue': not in queue, priority, .*unique_scope"):
        await app.enqueue("t", quue="q")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'unique_key': not in queue"):
        await app.enqueue_many("t", [1], unique_key="k")  # type: ignore[call-arg]


async def test_every_option_reaches_the_arguments():
    given = {
        "queue": "q", "priority": 1, "run_at": None, "delay": HOUR, "reference": ("t", 1),
        "max_retries": 1, "backoff": Backoff.fixed(HOUR), "unique_key": "k", "unique_scope": "kept",
        "group_key": "g", "headers": {"a": 1}, "expires": HOUR,
        "unique_for": HOUR, "on_conflict": "debounce", "max_wait": HOUR,
        "watch": True, "depends_on": [1, Handle(2)], "on_parent_failed": "run", "batch": Handle(3),
    }
    assert given.keys() == EnqueueOptions.__annotations__.keys()
    assert job_arguments("t", given) == {
        "job_type": "t", "queue": "q", "priority": 1, "run_at": HOUR, "reference_type": "t",
        "reference_id": 1, "max_retries": 1, "backoff": [HOUR], "unique_key": "k",
        "unique_scope": "kept", "group_key": "g", "headers": '{"a":1}', "expires_at": HOUR,
        "unique_for": HOUR, "on_conflict": "debounce", "max_wait": HOUR,
        "watch": True, "depends_on": [1, 2], "on_parent_failed": "run", "batch_id": 3,
    }


@pytest.mark.parametrize("conn_given", [True, False])
async def test_group_headers_and_expiry_reach_the_job_however_it_is_enqueued(app, conn, conn_given):
    given = {"group_key": "g", "headers": {"a": [1]}, "conn": conn if conn_given else None}
    moment = datetime(2100, 1, 1, tzinfo=UTC)
    for expires in (moment, HOUR):
        one = await app.enqueue("t", expires=expires, **given)
        _, two = await app.enqueue_many("t", [1, 2], expires=expires, **given)
        for job in (one, await app.get(two)):
            assert (job.group_key, job.headers) == ("g", {"a": [1]})
            if expires is moment:
                assert job.expires_at == moment
            else:
                assert abs(job.expires_at - job.created_at - HOUR) < timedelta(minutes=1)


@pytest.mark.parametrize("conn_given", [True, False])
async def test_is_new_says_whether_the_call_has_added_the_job_whatever_on_conflict_is(
    app, conn, conn_given
):
    given = {"unique_key": "k", "conn": conn if conn_given else None}
    first = await app.enqueue("t", 1, on_conflict="raise", **given)
    replaced = await app.enqueue("t", 2, on_conflict="replace", **given)
    debounced = await app.enqueue("t", 3, on_conflict="debounce", max_wait=HOUR, **given)
    returned = await app.enqueue("t", 4, **given)
    jobs = [first, replaced, debounced, returned]
    assert [job.id for job in jobs] == [first.id] * 4
    assert [job.is_new for job in jobs] == [True, False, False, False]
    assert [job.payload for job in jobs] == [1, 2, 3, 3]
    with pytest.raises(DuplicateJob):
        await app.enqueue("t", 5, on_conflict="raise", **given)
    await conn.execute("update jobs set attempt = 1, retry_count = 1")
    assert (await app.enqueue("t", 6, on_conflict="replace", **given)).is_new is True


async def test_is_new_of_a_key_that_is_taken_over_after_its_period(app, conn):
    given = {"unique_key": "k", "unique_scope": "period", "unique_for": HOUR}
    assert [(await app.enqueue("t", **given)).is_new for _ in range(2)] == [True, False]
    await conn.execute("update jobs set unique_until = clock_timestamp()")
    assert (await app.enqueue("t", **given)).is_new is True


async def test_calls_that_share_a_statement_keep_their_own_groups(app):
    keys = [None if n % 3 else f"g{n}" for n in range(40)]
    jobs = await asyncio.gather(*(app.enqueue("t", n, group_key=key) for n, key in enumerate(keys)))
    assert [job.group_key for job in jobs] == keys
    assert [(await app.get(job.id)).group_key for job in jobs] == keys


@pytest.mark.parametrize("name", ["pgjobs.schedule", "pgjobs.", "traceparent", "tracestate"])
async def test_a_header_that_pgjobs_itself_writes_is_refused(app, conn, name):
    with pytest.raises(InvalidArgument, match=f"writes the header '{name}'"):
        await app.enqueue("t", headers={name: "x"})
    assert await conn.fetchval("select count(*) from jobs") == 0


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("headers", [1]), ("headers", {1: 2}), ("headers", {"a": float("nan")}),
        ("headers", {"a": object()}), ("group_key", 7), ("group_key", ""), ("expires", -HOUR),
        ("expires", 60), ("expires", datetime(2100, 1, 1)),  # noqa: DTZ001
    ],
)
async def test_a_wrong_group_header_or_expiry_is_refused(app, conn, option, value):
    given = {option: value}
    for call in (app.enqueue("t", **given), app.enqueue_many("t", [1], **given)):
        with pytest.raises(InvalidArgument, match=option.removesuffix("s")):
            await call
    assert await conn.fetchval("select count(*) from jobs") == 0


class Order(BaseModel):
    customer: int | None


async def test_the_group_of_a_handlers_jobs_may_be_a_value(app, conn):
    @app.job("t", group_key="g")
    async def handler(job: Job[Order]) -> None: ...

    order = Order(customer=1)
    jobs = [await handler.enqueue(order), await app.enqueue("t", order)]
    ids = [*await handler.enqueue_many([order]), *await app.enqueue_many("t", [order])]
    jobs += [await app.get(job_id) for job_id in ids]
    assert [job.group_key for job in jobs] == ["g"] * 4
    assert (await handler.enqueue(order, group_key="other")).group_key == "other"


async def test_the_group_may_be_a_function_of_the_payload_as_the_handler_is_given_it(app):
    @app.job("t", group_key=lambda order: order.customer and f"customer {order.customer}")
    async def handler(job: Job[Order]) -> None: ...

    orders = [Order(customer=1), {"customer": 2}, Order(customer=None)]
    groups = ["customer 1", "customer 2", None]
    for enqueue, enqueue_many in [
        (handler.enqueue, handler.enqueue_many),
        (partial(app.enqueue, "t"), partial(app.enqueue_many, "t")),
    ]:
        assert [(await enqueue(order)).group_key for order in orders] == groups
        made = [await app.get(job_id) for job_id in await enqueue_many(orders)]
        assert [job.group_key for job in made] == groups
        assert [job.payload["customer"] for job in made] == [1, 2, None]
        (of_call,) = await enqueue_many(orders[:1], group_key="other")
        assert (await app.get(of_call)).group_key == "other"


async def test_a_function_that_gives_no_string_is_refused(app, conn):
    @app.job("t", group_key=lambda order: order.customer)
    async def handler(job: Job[Order]) -> None: ...

    for call in (handler.enqueue(Order(customer=1)), handler.enqueue_many([Order(customer=1)])):
        with pytest.raises(InvalidArgument, match="group_key must be of type str, not 1"):
            await call
    with pytest.raises(InvalidArgument, match="group_key"):
        app.job("u", group_key=7)(lambda job: None)


async def test_the_jobs_of_a_declared_schedule_have_the_group_of_the_handler(app, conn):
    @app.schedule("@daily", name="one", payload=Order(customer=1))
    @app.schedule("@daily", name="two", payload={"customer": 2})
    @app.job("t", group_key=lambda order: f"customer {order.customer}")
    async def handler(job: Job[Order]) -> None: ...

    await app.worker().run(until_empty=True)
    for name in ("one", "two"):
        await conn.execute("select jobs_schedule_run($1)", name)
    rows = await conn.fetch("select group_key from jobs order by id")
    assert [row["group_key"] for row in rows] == ["customer 1", "customer 2"]


async def test_a_task_refuses_an_unknown_option_even_if_it_is_none(app):
    @app.job("t")
    async def handler(job):
        pass

    with pytest.raises(TypeError, match="'quue'"):
        await handler.enqueue(1, quue=None)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'unique_key'"):
        await handler.enqueue_many([1], unique_key=None)  # type: ignore[call-arg]


async def test_a_backoff_of_microseconds_is_enqueued_in_a_batch_too(app, conn):
    short = Backoff.fixed(timedelta(microseconds=50))
    await app.enqueue_many("t", [1, 2], backoff=short)
    assert await conn.fetchval("select backoff from jobs limit 1") == list(short.delays)


@pytest.mark.parametrize("payloads", ["abc", b"abc", {"a": 1}])
async def test_enqueue_many_refuses_what_is_no_list_of_payloads(app, payloads):
    with pytest.raises(InvalidArgument, match="payloads must be a list"):
        await app.enqueue_many("t", payloads)


@pytest.mark.parametrize("entity", [None, int, 1.5, b"1", object()])
async def test_a_reference_that_is_no_number_string_or_uuid_is_refused(app, entity):
    with pytest.raises(InvalidArgument, match="reference"):
        await app.enqueue("t", reference=("order", entity))


@pytest.mark.parametrize(
    ("setting", "good", "bad"),
    [
        ("priority", (-9, 9), (-10, 10)),
        ("max_retries", (0, 2**31 - 1), (-1, 2**31)),
    ],
)
async def test_a_setting_that_the_database_refuses_is_refused_by_the_decorator(
    app, conn, setting, good, bad
):
    for value in good:
        app.job(f"t{value}", **{setting: value})(lambda job: None)
        await app.enqueue(f"t{value}", conn=conn)
    for value in bad:
        with pytest.raises(InvalidArgument, match=setting):
            app.job("u", **{setting: value})
        with pytest.raises(InvalidArgument):
            await app.enqueue("other", **{setting: value})
