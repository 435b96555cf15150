"""The options of enqueue: which there are, what they may be, and where they go."""

from datetime import timedelta
from uuid import UUID

import pytest

from pgjobs import Backoff, InvalidArgument
from pgjobs.producer.arguments import EnqueueOptions, job_arguments

HOUR = timedelta(hours=1)


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
    }
    assert given.keys() == EnqueueOptions.__annotations__.keys()
    assert job_arguments("t", given) == {
        "job_type": "t", "queue": "q", "priority": 1, "run_at": HOUR, "reference_type": "t",
        "reference_id": 1, "max_retries": 1, "backoff": [HOUR], "unique_key": "k",
        "unique_scope": "kept",
    }


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
