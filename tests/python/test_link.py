"""A worker's own connections: how long they wait."""

import pytest

from pgjobs.link import Link

SLOW = "select length($1::text), pg_sleep(0.3)"


@pytest.fixture
async def link(pgjobs_dsn: str):
    made = Link(pgjobs_dsn, name="impatient", patience=0.1)
    await made.connect()
    yield made
    await made.close()


async def test_a_server_that_does_not_answer_is_given_up(link):
    with pytest.raises(TimeoutError):
        await link.fetch(SLOW, "small")


async def test_what_is_large_has_longer_to_arrive(link, monkeypatch):
    monkeypatch.setattr("pgjobs.link.SLOWEST", 1_000)
    rows = await link.fetch(SLOW, "x" * 5_000)
    assert rows[0]["length"] == 5_000


async def test_so_has_a_list_of_texts(link, monkeypatch):
    monkeypatch.setattr("pgjobs.link.SLOWEST", 1_000)
    query = "select cardinality($1::text[]) as n, pg_sleep(0.3)"
    rows = await link.fetch(query, [None, "x" * 2_500, "y" * 2_500])
    assert rows[0]["n"] == 3
