"""How attempts ended in the last hour, by queue and by type, and which groups wait longest."""

import asyncpg
import pytest

Connection = asyncpg.Connection

ROW = """insert into jobs_history
    select interval '1 minute', date_trunc('minute', now()) - $1 * interval '1 minute', $2, $3, $4,
        $5::int,
        1, array_fill(0, array[$6::int - 1]) || $5::int || array_fill(0, array[23 - $6::int]),
        1, array_fill(0, array[$6::int - 1]) || $5::int || array_fill(0, array[23 - $6::int])"""


async def note(
    conn: Connection, minutes_ago: int, queue: str | None, job_type: str | None,
    outcome: str = "completed", jobs: int = 4, bucket: int = 2,
) -> None:
    await conn.execute(ROW, minutes_ago, queue, job_type, outcome, jobs, bucket)


async def test_ends_are_added_up_by_queue_or_by_type(conn: Connection) -> None:
    await note(conn, 1, "a", "t")
    await note(conn, 2, "a", "t", jobs=12)
    await note(conn, 2, "a", "u", "failed", jobs=2)
    await note(conn, 2, "a", "u", "retried", jobs=2)
    await note(conn, 3, "b", "t", "cancelled")
    await note(conn, 4, None, None)
    await note(conn, 70, "c", "t")
    by_queue = await conn.fetch("select * from _jobs_recent_ends() order by name")
    assert [(r["name"], r["attempts"], r["bad"]) for r in by_queue] == [("a", 20, 4), (None, 4, 0)]
    assert by_queue[0]["run_p50_s"] == by_queue[0]["wait_p50_s"] == pytest.approx(0.003)
    assert by_queue[0]["run_p95_s"] == pytest.approx(0.0039)
    by_type = await conn.fetch("select * from _jobs_recent_ends(true) order by name")
    assert [(r["name"], r["attempts"], r["bad"]) for r in by_type] == [
        ("t", 16, 0), ("u", 4, 4), (None, 4, 0)
    ]


async def test_a_busy_hour_is_read_to_a_whole_minute_only(conn: Connection) -> None:
    async with conn.transaction():  # in which now() stays the same
        for minutes_ago in range(1, 50):
            for queue in ("a", "b", "c"):
                await note(conn, minutes_ago, queue, "t", jobs=1)
        rows = await conn.fetch("""select *, date_trunc('minute', now()) - since as ago
            from _jobs_recent_ends(max_rows => 10)""")
    assert {(row["name"], row["attempts"]) for row in rows} == {("a", 3), ("b", 3), ("c", 3)}
    assert {row["ago"].total_seconds() for row in rows} == {180}


async def test_an_hour_without_ends_has_no_rows(conn: Connection) -> None:
    assert await conn.fetch("select * from _jobs_recent_ends()") == []


async def test_the_groups_that_wait_longest_come_first(conn: Connection) -> None:
    await conn.execute("select jobs_limit('q', max_running_per_group => 1)")
    for minutes, group in enumerate(("new", "old", "old", "older"), start=1):
        await conn.execute(
            "select jobs_enqueue('t', queue => 'q', group_key => $1,"
            " run_at => now() - $2 * interval '1 minute')", group, minutes,
        )
    await conn.execute("select jobs_enqueue('t', queue => 'q', group_key => 'later',"
                       " run_at => now() + interval '1 hour')")
    await conn.execute("select jobs_enqueue('t', queue => 'r', group_key => 'alone')")
    rows = await conn.fetch("select * from _jobs_waiting_groups()")
    assert [(r["queue"], r["group_key"], r["due"], r["startable"]) for r in rows] == [
        ("q", "older", 1, 1), ("q", "old", 2, 1), ("q", "new", 1, 1), ("r", "alone", 1, 1)
    ]
    assert rows[0]["oldest"].total_seconds() == pytest.approx(240, abs=30)
    rows = await conn.fetch("select * from _jobs_waiting_groups('q', 2)")
    assert [row["group_key"] for row in rows] == ["older", "old"]


async def test_a_group_of_which_nothing_starts_says_why(conn: Connection) -> None:
    await conn.execute("select jobs_limit('q', max_running_per_group => 1)")
    await conn.execute("select jobs_limit('r', in_order => true)")
    for queue in ("q", "q", "r", "r"):
        await conn.execute("select jobs_enqueue('t', queue => $1, group_key => 'g')", queue)
    await conn.execute("select jobs_claim('w', '{q}')")
    failed = await conn.fetchrow("select id, attempt from jobs_claim('w', '{r}')")
    await conn.execute(
        "select jobs_fail($1, 'no', retry_in => '1 hour', worker => 'w', attempt => $2)", *failed
    )
    rows = await conn.fetch("select * from _jobs_waiting_groups() order by queue")
    assert [(row["queue"], row["startable"], row["told"]) for row in rows] == [
        ("q", 0, "1 of 1 run"), ("r", 0, f"waits for the retry of job {failed['id']}")
    ]
    assert rows[1]["held_until"] is not None
