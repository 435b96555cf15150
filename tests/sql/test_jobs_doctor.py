"""The doctor reports each problem that a test causes, and no problem without a cause."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from pgjobs.embedded import EmbeddedPostgres

Connection = asyncpg.Connection
Ask = Callable[..., Awaitable[tuple[str, str, str]]]

WARNINGS_WITHOUT_WORKERS = {"workers"}


@pytest.fixture
def ask(conn: Connection) -> Ask:
    """The result of one check of the doctor: verdict, detail, advice."""

    async def ask(check: str, query: str = "jobs_doctor()") -> tuple[str, str, str]:
        row = await conn.fetchrow(f"select * from {query} where check_name = $1", check)
        assert row is not None, check
        return row["verdict"], row["detail"], row["advice"] or ""

    return ask


@pytest.fixture
async def other(pgjobs_dsn: str) -> AsyncIterator[Connection]:
    """A second session, called "reporting"."""
    connection = await asyncpg.connect(
        pgjobs_dsn, server_settings={"application_name": "reporting"}
    )
    yield connection
    await connection.close()


async def test_every_check_gives_a_verdict_and_a_new_installation_lacks_only_workers(
    conn: Connection,
) -> None:
    rows = await conn.fetch("select * from jobs_doctor()")
    assert {row["check_name"] for row in rows if row["verdict"] != "ok"} == WARNINGS_WITHOUT_WORKERS
    assert {row["verdict"] for row in rows} == {"ok", "warn"}
    for row in rows:
        assert row["detail"]
        assert (row["advice"] is None) == (row["verdict"] == "ok")


async def test_an_expired_lease_is_a_warning_first_and_bad_later(
    conn: Connection, ask: Ask
) -> None:
    await conn.execute("select from jobs_enqueue('a'); select from jobs_claim('w')")
    assert (await ask("expired leases"))[0] == "ok"
    await conn.execute("update jobs set lease_until = clock_timestamp() - interval '10 s'")
    verdict, detail, advice = await ask("expired leases")
    assert (verdict, detail) == ("warn", "1, the oldest for 00:00:10")
    assert "jobs_recover()" in advice
    await conn.execute("update jobs set lease_until = clock_timestamp() - interval '5 min'")
    assert (await ask("expired leases"))[0] == "bad"


async def test_a_job_held_for_long_without_a_lease_is_reported(conn: Connection, ask: Ask) -> None:
    await conn.execute("select from jobs_enqueue('a'); select from jobs_start(1, 'me')")
    assert (await ask("jobs held without a lease"))[0] == "ok"
    await conn.execute("update jobs set started_at = clock_timestamp() - interval '2 hours'")
    verdict, detail, _ = await ask("jobs held without a lease")
    assert (verdict, detail) == ("warn", "1, the longest for 02:00:00")


@pytest.mark.parametrize(("age", "verdict"), [("1 s", "ok"), ("2 min", "warn"), ("2 h", "bad")])
async def test_the_oldest_due_job_is_named(
    conn: Connection, ask: Ask, age: str, verdict: str
) -> None:
    await conn.execute(
        "select from jobs_enqueue('slow', queue => 'q');"
        f"update jobs set run_at = clock_timestamp() - interval '{age}'"
    )
    said = await ask("oldest due job")
    assert said[0] == verdict
    assert said[1].startswith("slow in queue q has been due for 0")


async def test_a_paused_queue_with_due_jobs_is_named_and_its_oldest_job_is_not(
    conn: Connection, ask: Ask
) -> None:
    await conn.execute(
        """select from jobs_pause('q');
        select from jobs_enqueue('a', queue => 'q', run_at => clock_timestamp() - interval '2 h')"""
    )
    verdict, detail, advice = await ask("paused queues")
    assert (verdict, detail) == ("warn", "q (1 due)")
    assert "jobs_resume" in advice
    assert (await ask("oldest due job"))[0] == "ok"


async def test_the_end_and_the_reason_of_a_pause_are_told(conn: Connection, ask: Ask) -> None:
    await conn.execute(
        """select from jobs_pause('q', '2100-01-01 00:00:00+00', 'the mail server moves');
        select from jobs_enqueue('a', queue => 'q')"""
    )
    assert (await ask("paused queues"))[:2] == (
        "warn", "q (1 due, until 2100-01-01 00:00:00+00: the mail server moves)"
    )
    await conn.execute("update jobs_queues set paused_until = clock_timestamp()")
    assert (await ask("paused queues"))[:2] == ("ok", "none with due jobs")


async def test_a_pause_of_over_an_hour_without_an_end_is_named(conn: Connection, ask: Ask) -> None:
    await conn.execute("select from jobs_pause('q', reason => 'a move')")
    assert (await ask("long pauses"))[0] == "ok"
    await conn.execute(
        "update jobs_queues set paused_at = clock_timestamp() - interval '61 minutes'"
    )
    verdict, detail, advice = await ask("long pauses")
    assert (verdict, detail) == ("warn", "q (for 01:01:00, a move)")
    assert "pgjobs pause QUEUE --for 8h" in advice
    await conn.execute("select from jobs_pause('q', clock_timestamp() + interval '8 hours')")
    assert (await ask("long pauses"))[0] == "ok"
    await conn.execute("select from jobs_pause('q')")
    assert (await ask("long pauses"))[0] == "warn"
    await conn.execute("select from jobs_resume('q')")
    assert (await ask("long pauses"))[0] == "ok"


async def test_without_workers_due_jobs_are_bad(
    conn: Connection, ask: Ask, other: Connection
) -> None:
    assert (await ask("workers"))[0] == "warn"
    await conn.execute("select from jobs_enqueue('a')")
    assert (await ask("workers"))[0] == "bad"
    await conn.execute("select from jobs_enqueue('a'); select from jobs_claim('psql')")
    assert (await ask("workers"))[:2] == ("ok", "none is connected, others hold 1 job")
    await other.execute("select from jobs_worker_start('w', '{default}', null, 1)")
    verdict, detail, _ = await ask("workers")
    assert verdict == "ok"
    assert detail.startswith("1 connected, 0 of them polling; the last tick was 00:00:0")


async def test_a_worker_whose_session_is_gone_is_named(
    conn: Connection, ask: Ask, other: Connection
) -> None:
    await other.execute(
        "select from jobs_worker_start('w', '{default}', null, 1);"
        "select _jobs_worker_mode('w', 'polling')"
    )
    assert (await ask("workers that are gone"))[0] == "ok"
    assert "1 connected, 1 of them polling" in (await ask("workers"))[1]
    await other.execute("select pg_advisory_unlock_all()")
    verdict, detail, _ = await ask("workers that are gone")
    assert verdict == "warn"
    assert detail.startswith("w (seen 00:00:0")
    assert detail.endswith(" ago)")


async def test_a_worker_that_does_not_tick_is_named(
    conn: Connection, ask: Ask, other: Connection
) -> None:
    await other.execute("select from jobs_worker_start('w', '{default}', null, 1)")
    await conn.execute("update jobs_worker_ticks set seen_at = now() - interval '1 min'")
    verdict, detail, _ = await ask("workers that hang")
    assert verdict == "bad"
    assert detail.startswith("w (seen 00:01:0")


async def test_jobs_that_no_worker_serves_are_named(
    conn: Connection, ask: Ask, other: Connection
) -> None:
    await conn.execute(
        """select from jobs_enqueue('a'); select from jobs_enqueue('b');
        select from jobs_enqueue('a', queue => 'q')"""
    )
    assert (await ask("jobs without a handler"))[0] == "ok"
    await other.execute("select from jobs_worker_start('w', '{default}', '{a}', 1)")
    verdict, detail, _ = await ask("jobs without a handler")
    assert verdict == "bad"
    assert detail == (
        "b in queue default (1 due), "
        "a in queue q (1 due; workers have a handler for it in queue default)"
    )


async def test_the_advice_about_the_oldest_due_job_depends_on_who_serves_it(
    conn: Connection, ask: Ask, other: Connection
) -> None:
    await conn.execute(
        "select from jobs_enqueue('send_mial', run_at => clock_timestamp() - interval '2 h')"
    )
    assert (await ask("oldest due job"))[2] == "see the check workers"
    await other.execute("select from jobs_worker_start('w', '{default}', '{send_mail}', 1)")
    advice = (await ask("oldest due job"))[2]
    assert advice == "no worker takes it: see the check jobs without a handler"
    await conn.execute("update jobs set job_type = 'send_mail'")
    assert (await ask("oldest due job"))[2] == "start more workers, or give them more slots"


async def test_a_session_that_holds_back_vacuum_is_named(
    conn: Connection, ask: Ask, other: Connection
) -> None:
    async with other.transaction(isolation="repeatable_read"):
        await other.execute("select from jobs")
        pid = other.get_server_pid()
        verdict, detail, _ = await ask("oldest snapshot")
        assert verdict == "ok"
        assert detail.startswith(f"pid {pid} (reporting, user postgres, idle in transaction) has")
        verdict, detail, advice = await ask("oldest snapshot", "_jobs_doctor_vacuum('0')")
        assert verdict == "bad"
        assert advice == f"end it: select pg_terminate_backend({pid})"
    assert (await ask("oldest snapshot", "_jobs_doctor_vacuum('0')"))[0] == "ok"


async def test_without_the_right_to_see_sessions_the_doctor_says_so(
    conn: Connection, ask: Ask, other: Connection
) -> None:
    role = f"observer_{uuid4().hex[:12]}"
    await conn.execute(f"create role {role}; select jobs_grant('{role}', 'observer')")
    async with other.transaction(isolation="repeatable_read"):
        await other.execute("select from jobs")
        await conn.execute(f"set role {role}")
        rows = await conn.fetch("select * from jobs_doctor()")
        verdict, detail, advice = await ask("oldest snapshot", "_jobs_doctor_vacuum('0')")
        assert verdict == "warn"
        assert "unknown for the sessions of" in detail
        assert "postgres" in detail
        assert advice == f"to see all: grant pg_read_all_stats to {role}"
        await conn.execute(f"reset role; grant pg_read_all_stats to {role}; set role {role}")
        assert (await ask("oldest snapshot", "_jobs_doctor_vacuum('0')"))[0] == "bad"
        await conn.execute(f"reset role; drop owned by {role}; drop role {role}")
    bad = {row["check_name"] for row in rows if row["verdict"] == "bad"}
    assert bad == set()


async def test_many_dead_rows_are_counted(conn: Connection, ask: Ask) -> None:
    await conn.execute(
        """alter table jobs set (autovacuum_enabled = false);
        insert into jobs (job_type) select 'a' from generate_series(1, 12000);
        update jobs set priority = 1;"""
    )
    await conn.execute("delete from jobs; select pg_stat_force_next_flush()")
    verdict, detail, advice = await ask("dead rows")
    assert verdict == "warn"
    assert detail.startswith("24000 dead, 0 live; last vacuum unknown")
    assert "vacuum jobs" in advice
    await conn.execute("vacuum jobs")
    verdict, detail, _ = await ask("dead rows")
    assert verdict == "ok"
    assert detail.endswith(" ago")


async def test_a_table_without_autovacuum_is_bad(conn: Connection, ask: Ask) -> None:
    await conn.execute("alter table jobs set (autovacuum_enabled = off)")
    verdict, detail, advice = await ask("autovacuum")
    assert (verdict, detail) == ("bad", "off for the table jobs")
    await conn.execute(advice)
    assert (await ask("autovacuum"))[:2] == ("ok", "on")


async def test_a_missing_index_is_bad_and_installing_again_repairs_it(
    conn: Connection, ask: Ask, pgjobs_dsn: str, psql: Callable[..., Any]
) -> None:
    await conn.execute("drop index ix_jobs_claim, ix_jobs_reference")
    verdict, detail, advice = await ask("indexes")
    assert (verdict, detail) == ("bad", "ix_jobs_claim (missing), ix_jobs_reference (missing)")
    assert advice == "pgjobs sql | psql -v schema=public makes them again"
    psql(pgjobs_dsn, "-f", "sql/install.sql")
    assert (await ask("indexes"))[0] == "ok"


async def test_an_invalid_index_is_bad(conn: Connection, ask: Ask) -> None:
    await conn.execute(
        "update pg_index set indisvalid = false where indexrelid = 'ix_jobs_status'::regclass"
    )
    verdict, detail, advice = await ask("indexes")
    assert (verdict, detail) == ("bad", "ix_jobs_status (invalid)")
    assert advice.startswith("drop index ix_jobs_status; ")


async def test_an_unlogged_table_is_bad(conn: Connection, ask: Ask) -> None:
    await conn.execute("alter table jobs set unlogged")
    verdict, _, advice = await ask("persistence")
    assert verdict == "bad"
    await conn.execute(advice)
    assert (await ask("persistence"))[0] == "ok"


async def test_a_disabled_or_missing_trigger_is_bad(conn: Connection, ask: Ask) -> None:
    await conn.execute("alter table jobs disable trigger jobs_notify")
    verdict, _, advice = await ask("notifying trigger")
    assert verdict == "bad"
    await conn.execute(advice)
    assert (await ask("notifying trigger"))[0] == "ok"
    await conn.execute("drop trigger jobs_notify on jobs")
    assert (await ask("notifying trigger"))[1] == "missing"


async def test_rights_granted_to_everybody_are_bad(conn: Connection, ask: Ask) -> None:
    await conn.execute("grant create on schema public to public")
    verdict, detail, advice = await ask("privileges")
    assert verdict == "bad"
    assert detail.startswith("anybody may create objects in schema public")
    await conn.execute(advice)
    assert (await ask("privileges"))[0] == "ok"
    await conn.execute("grant execute on function jobs_retry to public")
    assert (await ask("privileges"))[:2] == ("bad", "anybody may call jobs_retry")


async def test_a_full_notification_queue_names_the_listener_that_is_behind() -> None:
    from pgjobs.schema.migrate import migrate

    settings = {"fsync": "off", "max_notify_queue_pages": "64"}
    with EmbeddedPostgres(settings=settings) as server:
        migrate(server.dsn)
        conn = await asyncpg.connect(server.dsn)
        lazy = await asyncpg.connect(server.dsn, server_settings={"application_name": "lazy"})
        await lazy.execute("listen anything")
        async with lazy.transaction():
            await lazy.execute("select 1")
            query = "select * from jobs_doctor() where check_name = 'notification queue'"
            seen: dict[str, Any] = {}
            for _ in range(12):
                await conn.execute(
                    "select pg_notify('c', repeat('x', 7000) || n) from generate_series(1, 5) n"
                )
                row = await conn.fetchrow(query)
                assert row is not None
                seen.setdefault(row["verdict"], row)
            assert list(seen) == ["ok", "warn", "bad"]
            assert f"probably behind: pid {lazy.get_server_pid()} (lazy, " in seen["bad"]["detail"]
            # Enqueueing goes on, without NOTIFY.
            await conn.execute("select from jobs_enqueue('a')")
        await lazy.close()
        await conn.close()


async def test_jobs_version_equals_the_version_of_the_package(
    conn: Connection, pytestconfig: Any
) -> None:
    project = (pytestconfig.rootpath / "pyproject.toml").read_text()
    assert f'\nversion = "{await conn.fetchval("select jobs_version()")}"\n' in project
