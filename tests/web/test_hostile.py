"""What hostile viewers, rows and servers bring, and what the console makes of it."""

from itertools import product
from typing import Any

import pytest
from asyncpg import Connection
from web.conftest import JSON, OWN_FORM, Browse

from pgjobs.web import Access
from pgjobs.web.pages.jobs import reference_columns, told_reference

OPERATOR = Access("olga", "operate")
ODD = ["a", "a:b", "4711", "007", "-0", '"', '"a"', '"a":b', ":", " ", "a b", '":"', "\\", "é\n"]


async def page_of(client: Any, path: str) -> Any:
    got = await client.get(path, headers=JSON)
    assert got.status_code == 200, got.text
    return got.json()["page"]


async def add(conn: Connection, job_type: str = "mail", **columns: Any) -> int:
    job_id: int = await conn.fetchval("select id from jobs_enqueue($1::text)", job_type)
    for name, value in columns.items():
        await conn.execute(f"update jobs set {name} = $2 where id = $1", job_id, value)
    return job_id


async def test_a_group_whose_name_is_none_is_not_taken_for_no_group(
    conn: Connection, browse: Browse
) -> None:
    await add(conn)
    client = await browse()
    assert len((await page_of(client, "/jobs"))["jobs"]) == 1
    assert (await page_of(client, "/jobs?group=None"))["jobs"] == []


@pytest.mark.parametrize("path", ["/jobs?", "/jobs/many?action=cancel&"])
async def test_a_reference_without_a_type_and_an_entity_stands_for_no_job(
    conn: Connection, browse: Browse, path: str
) -> None:
    await add(conn)
    client = await browse()
    for text in (":", '"":'):
        got = await client.get(path, params={"action": "cancel", "reference": text}, headers=JSON)
        assert got.status_code == 400
        assert "a type, an entity, or both" in got.text
    form = {"reference": ":", "as_of": "2999-01-01T00:00:00+00:00", "word": "cancel"}
    assert (await client.post("/jobs/many/cancel", data=form, headers=OWN_FORM)).status_code == 400
    assert await conn.fetchval("select status from jobs") == "pending"


def test_a_reference_stands_for_no_other_one() -> None:
    for kind, key in product([None, *ODD], ODD):
        row = {"reference_type": kind, "reference_key": key, "reference_id": None}
        wanted = {n: v for n, v in row.items() if v is not None}
        assert reference_columns(told_reference(row)) == wanted
    for kind, number in product([None, *ODD], (0, 7, -7, 2**63 - 1, -(2**63))):
        row = {"reference_type": kind, "reference_key": None, "reference_id": number}
        wanted = {n: v for n, v in row.items() if v is not None}
        assert reference_columns(told_reference(row)) == wanted
    for kind in ODD:
        row = {"reference_type": kind, "reference_key": None, "reference_id": None}
        assert reference_columns(told_reference(row)) == {"reference_type": kind}


async def test_a_key_with_zeros_before_it_is_no_number(conn: Connection, browse: Browse) -> None:
    number = await add(conn, reference_type="order", reference_id=7)
    key = await add(conn, reference_type="order", reference_key="007")
    client = await browse()
    for path, wanted in (
        ("/jobs?reference=order:007", key), ("/jobs?reference=order:7", number),
        ("/jobs?q=order%20007", key), ("/jobs?q=007", key),
    ):
        assert [job["id"] for job in (await page_of(client, path))["jobs"]] == [str(wanted)]
