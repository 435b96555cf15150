"""A backup is restored as docs/guides/restore.md says, and nothing runs before it may."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgjobs import App, Job
from pgjobs.testing import Server

ROOT = Path(__file__).parents[2]


@pytest.fixture
def restored_dsn(pgjobs_dsn: str, pgjobs_server: Server) -> Iterator[str]:
    """The DSN of a database into which a test restores that of ``pgjobs_dsn``."""
    with psycopg.connect(
        pgjobs_server.dsn(pgjobs_server.maintenance_dbname), autocommit=True
    ) as connection:
        connection.execute("create database pgjobs_restored template template0")
        try:
            yield pgjobs_server.dsn("pgjobs_restored")
        finally:
            connection.execute("drop database pgjobs_restored with (force)")


@pytest.fixture
def back_up_and_restore(
    pgjobs_dsn: str, restored_dsn: str, pg_program: Callable[[str], str], tmp_path: Path
) -> Callable[..., None]:
    """back_up_and_restore(later) restores a dump; ``later`` happens after the dump was made."""

    def run(later: Callable[[], None]) -> None:
        dump = str(tmp_path / "shop.dump")
        made = subprocess.run(
            [pg_program("pg_dump"), "--format", "custom", "--file", dump, pgjobs_dsn],
            check=False, capture_output=True, text=True,
        )
        if "server version mismatch" in made.stderr:
            pytest.skip("this machine's pg_dump is older than the server")
        assert made.returncode == 0, made.stderr
        later()
        subprocess.run(
            [pg_program("pg_restore"), "--clean", "--if-exists", "--exit-on-error", "--dbname",
             restored_dsn, dump],
            check=True, timeout=60,
        )

    return run


def asked(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def pgjobs(dsn: str, *arguments: str, check: bool = True) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pgjobs", *arguments, "--dsn", dsn],
        check=check, capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60,
    )
    return done.stdout


def tick(dsn: str) -> None:
    """Does what a worker does every ten seconds, so that the test need not wait for it."""
    asked(dsn, "select count(*) from jobs_schedules_fire()")
    asked(dsn, "select count(*) from jobs_recover()")


def shop(dsn: str, ran: list[str]) -> App:
    app = App(dsn=dsn)

    @app.job("mail", queue="mail")
    async def mail(job: Job[str]) -> None:
        ran.append(job.payload)

    @app.job("report", queue="reports")
    async def report(job: Job[dict[str, int]]) -> None:
        ran.append("report")

    return app


async def test_nothing_of_a_restored_queue_runs_before_it_is_resumed(
    pgjobs_dsn: str, restored_dsn: str, back_up_and_restore: Callable[..., None]
) -> None:
    for name in ("pending", "running", "paid"):
        asked(pgjobs_dsn, f"""select from jobs_enqueue('mail', '"{name}"', queue => 'mail',
            reference_type => 'mail', reference_key => '{name}')""")
    asked(pgjobs_dsn, "select from jobs_start(2, 'gone', lease => '1 s')")
    asked(pgjobs_dsn, "select from jobs_schedule('nightly', 'report', every => '1 day',"
          " queue => 'reports', starts_at => now() - interval '60 hours')")

    def later() -> None:
        asked(pgjobs_dsn, "select jobs_complete(id) from jobs_claim('w', '{mail}', 10)")
        asked(pgjobs_dsn, "select from jobs_enqueue('mail', '\"lost\"', queue => 'mail')")

    back_up_and_restore(later)
    # The schedule has missed ticks since, and the lease of the job that ran is over.
    asked(restored_dsn, "update jobs_schedules set next_at = next_at - interval '3 days'")
    asked(restored_dsn, "update jobs set lease_until = now() - interval '1 day' where id = 2")

    pgjobs(restored_dsn, "pause", "--all", "--reason", "restored")
    asked(restored_dsn, "select from jobs_schedules s"
          " cross join lateral jobs_schedule_pause(s.name) r where s.paused_at is null")
    pgjobs(restored_dsn, "migrate")
    checks = json.loads(pgjobs(restored_dsn, "doctor", "--json", check=False))
    bad = {row["check_name"] for row in checks if row["verdict"] == "bad"}
    assert bad <= {"expired leases", "workers"}
    pgjobs(restored_dsn, "cancel", "--reference", "mail:paid")

    ran: list[str] = []
    async with shop(restored_dsn, ran) as app:
        tick(restored_dsn)
        await app.worker().run(until_empty=True)
        assert ran == []
        assert asked(restored_dsn, "select status, crash_count from jobs order by id") == [
            ("pending", 0), ("pending", 1), ("cancelled", 0)
        ]
        pgjobs(restored_dsn, "resume", "--all")
        asked(restored_dsn, "select from jobs_schedules s"
              " cross join lateral jobs_schedule_resume(s.name) r")
        tick(restored_dsn)
        await app.worker().run(until_empty=True)
    # Ticks that passed before the pause ended are not made up for.
    assert sorted(ran) == ["pending", "running"]
    # The id of the job that the backup does not have is given again.
    assert asked(restored_dsn, "select id from jobs_enqueue('mail', queue => 'mail')") == [(4,)]


async def test_a_schedule_that_nobody_paused_makes_up_for_its_latest_tick(
    pgjobs_dsn: str, restored_dsn: str, back_up_and_restore: Callable[..., None]
) -> None:
    for name, within in (("recent", "null"), ("too_old", "'10 minutes'")):
        asked(pgjobs_dsn, f"select from jobs_schedule('{name}', 'report', every => '1 day',"
              f" queue => 'reports', missed_within => {within},"
              " starts_at => now() - interval '60 hours')")
    back_up_and_restore(lambda: None)
    asked(restored_dsn, "update jobs_schedules set next_at = next_at - interval '3 days'")
    ran: list[str] = []
    pgjobs(restored_dsn, "pause", "--all")
    async with shop(restored_dsn, ran) as app:
        tick(restored_dsn)
        await app.worker().run(until_empty=True)
    # The pause of the queue held the job back, which was pending before.
    assert ran == []
    names = asked(restored_dsn, "select headers ->> 'pgjobs.schedule' from jobs")
    assert names == [("recent",)]


def test_a_pause_of_all_queues_reaches_a_queue_that_only_a_schedule_names(
    pgjobs_dsn: str,
) -> None:
    asked(pgjobs_dsn, "select from jobs_schedule('nightly', 'report', every => '1 hour',"
          " queue => 'reports')")
    assert "queue reports is paused" in pgjobs(pgjobs_dsn, "pause", "--all")
