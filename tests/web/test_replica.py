"""The console of a real replica."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from chaos.standby import Standby
from web.conftest import ADMIN, JSON, OWN_FORM, Browse

from pgjobs import migrate
from pgjobs.embedded import EmbeddedPostgres
from pgjobs.web.routing import PAGES


@pytest.fixture
def primary(pgjobs_embedded: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(bin=pgjobs_embedded.bin) as server:
        migrate(server.dsn)
        yield server


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's folder: the system user that runs PostgreSQL for root cannot reach it.
    with tempfile.TemporaryDirectory(prefix="pgjobs-") as made:
        Path(made).chmod(0o755)
        yield Path(made) / "cluster"


async def test_on_a_replica_everything_is_shown_and_nothing_can_be_changed(
    primary: EmbeddedPostgres, folder: Path, browse: Browse
) -> None:
    conn = await asyncpg.connect(primary.dsn)
    await conn.execute("select jobs_enqueue('t')")
    with Standby(primary, folder) as standby:
        client = await browse(ADMIN, standby.dsn)
        for path in [page.path for page in PAGES if page.name] + ["/jobs/1"]:
            page = await client.get(path)
            assert page.status_code == 200, path
            assert "the database takes no changes now" in page.text, path
            assert 'method="post"' not in page.text, path
            assert (await client.get(path, headers=JSON)).json()["troubles"] == [], path
        assert "Waits to start" in (await client.get("/jobs/1")).text
        refused = await client.post("/jobs/1/cancel", headers=OWN_FORM)
        assert refused.status_code == 403
        assert "the database takes no changes now" in refused.text
    assert await conn.fetchval("select status from jobs") == "pending"
    await conn.close()
