"""Queues over two databases behind one front (examples/plproxy), if PL/Proxy is installed."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Psql

from pgjobs import App, RunningJob, migrate
from pgjobs.embedded import EmbeddedPostgres

FRONT = Path(__file__).parents[2] / "examples/plproxy/front.sql"
BIN = Path("/usr/lib/postgresql/15/bin")
EXTENSION = Path("/usr/share/postgresql/15/extension/plproxy.control")

pytestmark = pytest.mark.skipif(
    not (BIN.exists() and EXTENSION.exists()), reason="no PostgreSQL 15 with PL/Proxy here"
)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(bin=BIN) as embedded:
        yield embedded


@pytest.fixture
def front(server: EmbeddedPostgres, psql: Psql) -> Iterator[psycopg.Connection]:
    """The front, with jobs0 and jobs1 behind it."""
    for name in ("front", "jobs0", "jobs1"):
        psql(dsn_of(server, "postgres"), "-c", f"create database {name}")
    for name, first in (("jobs0", 2), ("jobs1", 1)):
        migrate(dsn_of(server, name))
        psql(
            dsn_of(server, name), "-c",
            f"alter table jobs alter id set increment by 2 restart with {first}",
        )
    psql(
        dsn_of(server, "front"), "-v", f"p0={conninfo(server, 'jobs0')}",
        "-v", f"p1={conninfo(server, 'jobs1')}", "-f", str(FRONT),
    )
    with psycopg.connect(dsn_of(server, "front"), autocommit=True) as connection:
        yield connection


def dsn_of(server: EmbeddedPostgres, database: str) -> str:
    return server.dsn.replace("///postgres?", f"///{database}?")


def conninfo(server: EmbeddedPostgres, database: str) -> str:
    parameters = psycopg.conninfo.conninfo_to_dict(dsn_of(server, database))
    return " ".join(f"{name}={value}" for name, value in parameters.items())


async def test_one_front_spreads_jobs_over_two_databases_with_a_worker_each(
    server: EmbeddedPostgres, front: psycopg.Connection
) -> None:
    ids = [
        row[0]
        for row in front.execute(
            """select j.id from generate_series(1, 200) n,
            jobs_enqueue('count', jsonb_build_object('n', n)) j"""
        )
    ]
    assert len(set(ids)) == 200
    assert 50 < Counter(job_id % 2 for job_id in ids)[0] < 150
    # Every enqueue with the same key goes to the same database.
    keyed = front.execute(
        "select j.id from generate_series(1, 5), jobs_enqueue('count', unique_key => 'k') j"
    ).fetchall()
    assert len(set(keyed)) == 1
    # The id of a job tells its database.
    for job_id in ids[:10]:
        cancelled = front.execute("select id, status from jobs_cancel(%s)", [job_id]).fetchone()
        assert cancelled == (job_id, "cancelled")
        retried = front.execute("select id, status from jobs_retry(%s)", [job_id]).fetchone()
        assert retried == (job_id, "pending")

    seen: list[int] = []
    for name in ("jobs0", "jobs1"):
        app = App(dsn_of(server, name))

        @app.job("count")
        async def count(job: RunningJob[dict[str, Any]]) -> None:
            seen.append(job.id)

        await app.worker().run(until_empty=True)
    assert sorted(seen) == sorted([*ids, keyed[0][0]])
    stats = front.execute("select queue, job_type, status, jobs from jobs_stats").fetchall()
    assert stats == [("default", "count", "completed", 201)]
