import asyncio
import json

import pytest

from pgjobs.errors import InvalidArgument

MANY = "select * from jobs_enqueue_many($1::text::jsonb)"


async def test_ids_come_back_in_the_order_of_the_array(conn, ids):
    jobs = [{"job_type": "t", "payload": {"n": n}} for n in range(200)]
    answer = await ids(MANY, json.dumps(jobs))
    query = "select (payload ->> 'n')::int from jobs order by array_position($1, id)"
    order = await ids(query, answer)
    assert order == list(range(200))
    assert answer == sorted(answer)


async def test_ids_of_jobs_with_unique_keys_come_back_in_the_order_of_the_array_too(conn, ids):
    jobs = [{"job_type": "t", "unique_key": key} for key in ["b", "a", "c", "a"]]
    answer = await ids(MANY, json.dumps(jobs))
    keys = [await conn.fetchval("select unique_key from jobs where id = $1", i) for i in answer]
    assert keys == ["b", "a", "c", "a"]
    assert answer[1] == answer[3]
    assert await conn.fetchval("select count(*) from jobs") == 3


async def test_a_taken_key_returns_the_existing_id(conn, ids):
    held = await conn.fetchval("select id from jobs_enqueue('t', unique_key => 'a')")
    answer = await ids(MANY, '[{"job_type": "t"}, {"job_type": "t", "unique_key": "a"}]')
    assert answer[1] == held
    assert await conn.fetchval("select count(*) from jobs") == 2


async def test_every_field_reaches_its_column_and_a_null_or_absent_field_means_the_default(conn):
    full = {
        "job_type": "t", "payload": [1], "queue": "q", "priority": 9,
        "run_at": "2030-01-01T00:00:00Z", "reference_type": "file", "reference_id": 42,
        "max_retries": 0, "unique_key": "k", "unique_scope": "kept", "backoff": ["1 s", "00:01:00"],
    }
    empty = dict.fromkeys(full.keys() - {"payload"}, None) | {"job_type": "t"}
    await conn.execute(MANY, json.dumps([full, empty]))
    first, second = await conn.fetch("select * from jobs order by unique_key nulls last")
    assert (first["payload"], first["queue"], first["priority"]) == ("[1]", "q", 9)
    assert (first["run_at"].year, first["reference_id"], first["max_retries"]) == (2030, 42, 0)
    assert (first["unique_key"], first["unique_scope"]) == ("k", "kept")
    assert [delay.total_seconds() for delay in first["backoff"]] == [1, 60]
    assert (second["payload"], second["queue"], second["priority"]) == ("{}", "default", 0)
    assert (second["max_retries"], second["unique_scope"]) == (3, "live")


async def test_group_headers_and_expiry_reach_their_columns_with_and_without_a_unique_key(conn):
    rare = {"group_key": "g", "headers": {"a": [1]}, "expires_at": "2031-01-01T00:00:00Z"}
    jobs: list[dict[str, object]] = [
        {"job_type": "t", **rare}, {"job_type": "t", **dict.fromkeys(rare)}, {"job_type": "u"},
    ]
    for more in ([], [{"job_type": "t", "unique_key": "k"}]):
        await conn.execute("truncate jobs")
        await conn.execute(MANY, json.dumps(jobs + more))
        first, *others = await conn.fetch("select * from jobs order by group_key nulls last")
        assert (first["group_key"], first["headers"]) == ("g", '{"a": [1]}')
        assert first["expires_at"].year == 2031
        for other in others:
            assert [other[name] for name in rare] == [None] * 3


async def test_a_batch_of_producers_has_the_same_columns_if_it_is_not_called_plain(conn):
    jobs = json.dumps([{"job_type": "t", "group_key": "g"}, {"job_type": "t"}])
    for is_plain in (False, True):
        rows = await conn.fetch(
            "select group_key from _jobs_enqueue_together($1::text::jsonb, $2)", jobs, is_plain
        )
        assert [row["group_key"] for row in rows] == [None if is_plain else "g", None]


async def test_an_empty_array_adds_nothing(ids):
    assert await ids(MANY, "[]") == []


@pytest.mark.parametrize(
    ("jobs", "problem"),
    [
        ("null", "must be an array"),
        ('{"job_type": "t"}', "must be an array"),
        ('[{"job_type": "t"}, 1]', r"jobs\[1\] must be an object"),
        ('[{"job_type": "t"}, {"type": "t"}]', r"jobs\[1\] has the unknown key type"),
        ('[{"job_type": "t"}, {}]', r"jobs\[1\]: job_type is missing"),
        ('[{"job_type": "t"}, {"job_type": "t", "priority": 10}]', r"jobs\[1\]: priority must be"),
        ('[{"job_type": "t", "priority": "high"}]', r"jobs\[0\]: .*high"),
        ('[{"job_type": "t", "priority": 1e30}]', r"jobs\[0\]: "),
        ('[{"job_type": "t", "run_at": "someday"}]', r"jobs\[0\]: .*someday"),
        ('[{"job_type": "t", "run_at": "infinity"}]', r"jobs\[0\]: run_at must be a moment"),
        ('[{"job_type": "t", "max_retries": -1}]', r"jobs\[0\]: max_retries must be"),
        ('[{"job_type": "t", "backoff": []}]', r"jobs\[0\]: backoff must be a list"),
        ('[{"job_type": "t", "backoff": [["1 s"]]}]', r"jobs\[0\]: backoff must be a list"),
        ('[{"job_type": "t", "backoff": [[[[[[[["1 s"]]]]]]]]}]', r"jobs\[0\]: .*dimensions"),
        ('[{"job_type": "t", "backoff": ["101 years"]}]', r"jobs\[0\]: backoff must hold delays"),
        ('[{"job_type": "t", "unique_key": ""}]', r"jobs\[0\]: unique_key must have"),
        ('[{"job_type": "t"}, {"job_type": "t", "group_key": ""}]',
         r"jobs\[1\]: group_key must have 1 to 512 bytes"),
        ('[{"job_type": "t"}, {"job_type": "t", "headers": 1}]',
         r"jobs\[1\]: headers must be a JSON object"),
        ('[{"job_type": "t"}, {"job_type": "t", "expires_at": "infinity"}]',
         r"jobs\[1\]: expires_at must be a moment"),
        ('[{"job_type": "t"}, {"job_type": "t", "expires_at": "someday"}]',
         r"jobs\[1\]: .*someday"),
        (
            '[{"job_type": "t"}, {"job_type": "t", "unique_key": "k", "priority": 10}]',
            r"jobs\[1\]: priority must be",
        ),
    ],
)
async def test_a_bad_item_adds_no_job_at_all_and_the_error_names_the_item(conn, jobs, problem):
    with pytest.raises(InvalidArgument, match=problem):
        await conn.execute(MANY, jobs)
    assert await conn.fetchval("select count(*) from jobs") == 0


async def test_null_instead_of_jobs_raises(conn):
    with pytest.raises(InvalidArgument, match="must be an array"):
        await conn.execute("select jobs_enqueue_many(null)")


@pytest.mark.parametrize("key", ["5", '{"a": 1}', "[1]"])
async def test_a_unique_key_of_any_json_type_is_stored_as_text(conn, key):
    await conn.execute(MANY, f'[{{"job_type": "t", "unique_key": {key}}}]')
    assert await conn.fetchval("select unique_key from jobs") == key


async def test_two_batches_with_the_same_keys_in_another_order_do_not_deadlock(
    conn, other, blocked
):
    keys = [{"job_type": "t", "unique_key": str(n)} for n in range(50)]
    async with conn.transaction():
        first = await conn.fetch(MANY, json.dumps(keys))
        racing = asyncio.create_task(other.fetch(MANY, json.dumps(keys[::-1])))
        await blocked(other)
    assert await racing == first[::-1]


async def test_a_refused_batch_does_not_wait_for_a_key_to_say_which_object_is_wrong(conn, other):
    batch = [
        {"job_type": "t", "unique_key": "a"}, {"job_type": "a", "unique_key": "z", "priority": 99}
    ]
    async with conn.transaction():
        await conn.execute("select from jobs_enqueue('t', unique_key => 'a')")
        # This session gives up waiting for a lock after 10 s.
        with pytest.raises(InvalidArgument, match=r"jobs\[1\]: priority must be"):
            await other.fetch(MANY, json.dumps(batch))


async def test_a_batch_of_one_is_not_compiled_by_jit(conn):
    # The planner expects a thousand rows of a set-returning function that does not say how many.
    expected = await conn.fetchval("select prorows from pg_proc where proname = 'jobs_enqueue'")
    settings = await conn.fetchval(
        "select proconfig from pg_proc where proname = '_jobs_enqueue_together'"
    )
    assert expected == 1
    assert "jit=off" in settings


@pytest.mark.parametrize("more", [[], [{"job_type": "u"}], [{"job_type": "u", "unique_key": "k"}]])
async def test_a_payload_of_null_is_json_null_and_an_absent_one_is_an_empty_object(conn, more):
    for item, payload in (({"payload": None}, "null"), ({}, "{}"), ({"payload": {}}, "{}")):
        jobs = [*more, {"job_type": "t", **item}]
        await conn.execute("truncate jobs")
        await conn.execute(MANY, json.dumps(jobs))
        assert await conn.fetchval("select payload from jobs where job_type = 't'") == payload


async def test_in_a_large_batch_each_payload_of_null_is_its_own(conn):
    jobs = [
        {"job_type": "t", **([{"payload": None}, {}, {"payload": n}][n % 3])} for n in range(300)
    ]
    await conn.execute(MANY, json.dumps(jobs))
    rows = await conn.fetch("select payload from jobs order by id")
    assert [row["payload"] for row in rows] == [["null", "{}", str(n)][n % 3] for n in range(300)]
