import asyncio
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pgjobs
from pgjobs import App, Backoff, InvalidArgument, JobStatus, JobType, SchemaMismatch

HOUR = timedelta(hours=1)
text = st.text(
    st.characters() | st.sampled_from("\x00\ud800\udfff\\\"'{}"), max_size=8
) | st.just("x" * 600)
number = st.integers(-12, 12) | st.integers()


async def test_a_job_is_enqueued_with_every_argument(app):
    at = datetime(2100, 1, 1, tzinfo=UTC)
    job = await app.enqueue(
        JobType.FILE_INGESTION, {"file_path": "a.pdf"}, queue="q", priority=-2, run_at=at,
        reference=("file_upload", 2**40), max_retries=0, unique_key="k", unique_scope="kept",
        backoff=Backoff.listed(HOUR, 2 * HOUR),
    )
    assert job.status is JobStatus.PENDING
    assert job.job_type == "file_ingestion"
    assert job.payload == {"file_path": "a.pdf"}
    assert (job.queue, job.priority, job.run_at, job.max_retries) == ("q", -2, at, 0)
    assert job.reference == ("file_upload", 2**40)
    assert (job.unique_key, job.unique_scope) == ("k", "kept")
    assert job.backoff == [HOUR, 2 * HOUR]


async def test_omitted_arguments_take_the_defaults_of_the_database(app):
    job = await app.enqueue("t")
    assert (job.payload, job.queue, job.priority, job.max_retries) == ({}, "default", 0, 3)
    assert (job.reference, job.unique_key, job.backoff) == ((None, None), None, None)


async def test_a_delay_counts_by_the_clock_of_the_database(app, conn):
    job = await app.enqueue("t", delay=HOUR)
    assert abs(await conn.fetchval("select now()") + HOUR - job.run_at) < timedelta(minutes=1)


async def test_enqueue_returns_the_job_that_holds_the_unique_key(app):
    first = await app.enqueue("t", 1, unique_key="k")
    second = await app.enqueue("t", 2, unique_key="k")
    assert (second.id, second.payload) == (first.id, 1)


async def test_enqueue_many_keeps_the_order(app, conn):
    ids = await app.enqueue_many("t", ({"n": n} for n in range(50)), delay=HOUR, priority=2)
    rows = await conn.fetch("select id, payload ->> 'n' as n, priority, run_at from jobs")
    assert {row["id"]: int(row["n"]) for row in rows} == {i: n for n, i in enumerate(ids)}
    assert {row["priority"] for row in rows} == {2}
    assert min(row["run_at"] for row in rows) > await conn.fetchval("select now()")


async def test_enqueue_many_without_payloads_returns_no_ids(app):
    assert await app.enqueue_many("t", []) == []


async def test_enqueue_many_adds_all_jobs_or_none(app, conn):
    with pytest.raises(InvalidArgument):
        await app.enqueue_many("t", [1, 2, "\x00"])
    with pytest.raises(InvalidArgument, match="priority"):
        await app.enqueue_many("t", [1, 2], priority=10)
    assert await conn.fetchval("select count(*) from jobs") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run_at": datetime(2100, 1, 1, tzinfo=UTC), "delay": HOUR}, "run_at or delay"),
        ({"delay": -HOUR}, "delay"),
        ({"delay": timedelta.max}, "delay"),
        ({"priority": 10}, "priority"),
        ({"priority": 2**40}, "priority|range|int"),
        ({"priority": "high"}, None),
        ({"max_retries": -1}, "max_retries"),
        ({"queue": ""}, "queue"),
        ({"queue": "x" * 513}, "queue"),
        ({"queue": "a\x00b"}, None),
        ({"queue": "\ud800"}, None),
        ({"reference": ("file", 2**63)}, None),
        ({"reference": ("file", 1.5)}, "reference"),
        ({"reference": ("file", "")}, "reference_key"),
        ({"reference": "file"}, "reference"),
        ({"unique_key": ""}, "unique_key"),
        ({"unique_key": "k", "unique_scope": "ever"}, "unique_scope"),
        ({"run_at": datetime(2100, 1, 1)}, "time zone"),  # noqa: DTZ001
        ({"run_at": "tomorrow"}, None),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_an_invalid_argument_is_refused_and_no_job_added(app, conn, options, message):
    with pytest.raises(InvalidArgument, match=message):
        await app.enqueue("t", **options)
    if "unique_key" not in options:
        with pytest.raises(InvalidArgument, match=message):
            await app.enqueue_many("t", [1], **options)
    assert await conn.fetchval("select count(*) from jobs") == 0


@pytest.mark.parametrize("job_type", ["", None, 7, "x" * 513, "\x00"])
async def test_an_invalid_job_type_is_refused(app, job_type):
    for call in (app.enqueue(job_type), app.enqueue_many(job_type, [1])):
        with pytest.raises(InvalidArgument):
            await call


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "payload": text | number, "queue": text, "priority": number, "max_retries": number,
            "reference": st.tuples(text, number), "unique_key": text,
            "delay": st.timedeltas(), "run_at": st.datetimes(timezones=st.just(UTC)),
        },
    ),
    text,
)
def test_any_argument_works_or_is_refused(pgjobs_dsn, options, job_type):
    async def go():
        async with App(dsn=pgjobs_dsn) as app:
            for call in (_one, _many):
                with suppress(InvalidArgument):
                    await call(app, job_type, dict(options))

    asyncio.run(go())


async def _one(app, job_type, options):
    job = await app.enqueue(job_type, **options)
    # An earlier example may hold the same key.
    if "unique_key" not in options:
        assert job.payload == options.get("payload", {})


async def _many(app, job_type, options):
    options.pop("unique_key", None)
    await app.enqueue_many(job_type, [options.pop("payload", None)], **options)


async def test_a_second_handler_for_a_type_is_refused(app):
    app.job("t")(lambda job: None)
    with pytest.raises(InvalidArgument, match="has a handler already"):
        app.job("t")(lambda job: None)
    with pytest.raises(InvalidArgument, match="write the job type"):
        app.job(lambda job: None)


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0}, {"queues": []}, {"queues": "default"},
        {"lease": timedelta(seconds=1)},
    ],
    ids=repr,
)
async def test_a_worker_with_an_invalid_option_is_refused(app, options):
    with pytest.raises(InvalidArgument):
        app.worker(**options)


async def test_a_worker_without_handlers_is_refused(app):
    with pytest.raises(InvalidArgument, match="no handlers"):
        await app.worker().run()


async def test_without_the_tables_the_error_says_what_to_run(empty_dsn):
    async with App(dsn=empty_dsn) as app:
        app.job("t")(lambda job: None)
        for call in (app.enqueue("t"), app.enqueue_many("t", [1]), app.worker().run()):
            with pytest.raises(SchemaMismatch, match="pgjobs migrate"):
                await call


async def test_migrate_creates_the_tables(empty_dsn):
    app = App(dsn=empty_dsn, schema="Jobs of ours")
    await app.migrate()
    async with app:
        assert (await app.enqueue("t")).id == 1


async def test_the_default_app_finds_the_database_in_the_environment(
    pgjobs_dsn, conn, monkeypatch
):
    monkeypatch.setenv("PGJOBS_DSN", pgjobs_dsn)
    job = await pgjobs.enqueue("t", {"a": 1}, priority=1)
    await pgjobs.close()
    assert await conn.fetchval("select priority from jobs where id = $1", job.id) == 1


async def test_an_app_can_be_opened_again_and_closed_twice(pgjobs_dsn):
    app = App(dsn=pgjobs_dsn)
    for _ in range(2):
        async with app:
            await app.enqueue("t")
    await app.close()


def test_an_app_works_in_two_event_loops_one_after_the_other(pgjobs_dsn):
    app = App(dsn=pgjobs_dsn)

    async def go():
        await app.enqueue("t")
        await app.close()

    for _ in range(2):
        asyncio.run(go())


async def test_closing_an_app_leaves_no_connection_behind(pgjobs_dsn, conn, eventually):
    async with App(dsn=pgjobs_dsn) as app:
        await app.enqueue("t")
        await app.enqueue("t", delay=HOUR)

    async def alone():
        return await conn.fetchval(
            "select count(*) = 1 from pg_stat_activity where datname = current_database()"
        )

    await eventually(alone)


async def test_the_repr_of_an_app_hides_the_password():
    assert "secret" not in repr(App(dsn="postgresql://me:secret@host/db"))


async def test_a_pool_closed_by_a_crash_is_replaced(app, conn):
    await app.enqueue("t", delay=HOUR)
    await app.enqueue("t")
    await conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    lost = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
    for options in ({}, {"delay": HOUR}):
        for _ in range(3):
            try:
                job = await app.enqueue("t", **options)
            except lost:
                continue
            break
        assert job.id > 0


@pytest.mark.parametrize("argv", [None, [], [""], ["/usr/bin/prog"]])
async def test_an_interpreter_without_arguments_enqueues_too(pgjobs_dsn, conn, monkeypatch, argv):
    if argv is None:
        monkeypatch.delattr("sys.argv")
    else:
        monkeypatch.setattr("sys.argv", argv)
    async with App(dsn=pgjobs_dsn) as app:
        await app.enqueue("t")
        await app.enqueue_many("t", [1])
        name = await conn.fetchval(
            "select min(application_name) from pg_stat_activity"
            " where datname = current_database() and application_name like 'pgjobs %'"
        )
    assert name == ("pgjobs prog" if argv == ["/usr/bin/prog"] else "pgjobs app")


async def test_a_job_enqueued_by_its_type_has_the_settings_of_its_handler(app, conn):
    app.job("t", queue="slow", priority=2, max_retries=7)(lambda job: None)
    job = await app.enqueue("t")
    assert (job.queue, job.priority, job.max_retries) == ("slow", 2, 7)
    job = await app.enqueue("t", queue="quick", max_retries=None)
    assert (job.queue, job.priority, job.max_retries) == ("quick", 2, 7)
    await app.enqueue_many("t", [{}], priority=3)
    row = await conn.fetchrow("select queue, priority, max_retries from jobs where priority = 3")
    assert tuple(row) == ("slow", 3, 7)


async def test_an_app_with_handlers_warns_once_of_a_type_that_it_does_not_know(app, caplog):
    await app.enqueue("anything")
    assert not caplog.records
    app.job("t")(lambda job: None)
    for _ in range(2):
        await app.enqueue("tt")
        await app.enqueue("t")
    [record] = caplog.records
    assert record.getMessage() == (
        "a job of type 'tt' is enqueued, and this app has no handler of that type: did you mean"
        " 't'?"
    )


async def test_the_warning_of_an_unknown_type_names_the_likely_ones(app, caplog):
    for name in ("send_mail", "write_invoice", "b", "c", "d"):
        app.job(name)(lambda job: None)
    await app.enqueue("send_mial")
    await app.enqueue_many("quite other", [])
    assert [r.getMessage().rpartition(": ")[2] for r in caplog.records] == [
        "did you mean 'send_mail'?", "it has 'send_mail', 'write_invoice', 'b', ...",
    ]


async def test_where_pgjobs_is_missing_the_error_has_no_hint_on_something_else(empty_dsn):
    async with App(empty_dsn) as app:
        for conn in (None, await app.pool()):
            with pytest.raises(SchemaMismatch, match=r"^run `pgjobs migrate") as missing:
                await app.enqueue("t", delay=timedelta(seconds=1), conn=conn)
            assert len(str(missing.value).splitlines()) == 1


async def test_a_worker_serves_the_queues_of_its_handlers(app):
    app.job("a", queue="slow")(lambda job: None)
    app.job("b")(lambda job: None)
    app.job("c", queue="slow")(lambda job: None)
    assert app.worker().queues == ["slow", "default"]
    assert app.worker(queues=["other"]).queues == ["other"]


def test_importing_pgjobs_loads_neither_psycopg_nor_yoyo():
    code = (
        "import sys, pgjobs; assert not {'psycopg', 'yoyo', 'multiprocessing'} & set(sys.modules)"
        "; from pgjobs import migrate, App; assert 'yoyo' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_plain_data_loads_no_models_of_pydantic_and_the_first_typed_handler_does():
    code = """if True:
        import asyncpg, pydantic, sys
        loaded = set(sys.modules)
        import pgjobs
        app = pgjobs.App()
        plain = app.job("plain")(lambda job: None)
        assert plain.decode(plain.encode({"pages": [1, None]})) == {"pages": [1, None]}
        assert not {name for name in set(sys.modules) - loaded if name.startswith("pydantic")}

        async def handler(job: pgjobs.Job[list[int]]) -> None: ...
        typed = app.job("typed")(handler)
        assert "pydantic.type_adapter" in sys.modules
        assert typed.decode(typed.encode([1, 2])) == [1, 2]
    """
    subprocess.run([sys.executable, "-c", code], check=True)
