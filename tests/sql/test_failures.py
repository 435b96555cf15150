"""How failures are grouped: by type, exception, and first line without its quoted parts."""

import json
from datetime import timedelta

import pytest

HOUR = timedelta(hours=1)

LINES = {
    "numbers": ("no order 17 in 0.5 s", "no order 4,711 in 12 s", "no order * in * s"),
    "dates and addresses": (
        "10.2.3.4:5432 at 2026-11-28 is gone", "192.168.100.1:80 at 2025-01-02 is gone",
        "* at * is gone"),
    "hex": ("blob 0x1F of 7f3a9c", "blob 0xdeadbeef1 of 4", "blob * of *"),
    "uuids": (
        "no file 8c1b7a52-abcd-4f00-9d3e-1234567890ab",
        "no file 0AAABBBB-CCCC-DDDD-EEEE-FFFFFFFFFFFF", "no file *"),
    "numbers in words": ("customer_4711 has 5days", "customer_7 has 30days",
                         "customer_* has *days"),
    "double quotes": ('no "bill of Anna" here', 'no "" here', "no * here"),
    "single quotes": ("KeyError: 'anna'", "KeyError: b'1 2'", "KeyError: *"),
    "backticks": ("unknown `a b`", "unknown `c`", "unknown *"),
    "apostrophes": ("can't read 'a'", "can't read 'b c'", "can't read *"),
    "a quote that does not end": ('no "bill of', 'no "x', "no *"),
    "further lines": ("gone\nat 1", "gone\r\nelsewhere", "gone"),
    "blanks around it": ("\t gone", "gone  ", "gone"),
    "letters of any alphabet": ("Größe 3 zu groß: 日本", "Größe 41 zu groß: 日本",
                                "Größe * zu groß: 日本"),
    "nothing": ("", "\ngone", ""),
    "a megabyte": ("x" * 1_000_000, "x" * 1_000 + "\nand more", "x" * 160),
    "a long line behind parts of any length": (
        f"{'7' * 90} {'x ' * 5_000}", f"7 {'x ' * 5_000}", "* " + "x " * 79),
}


@pytest.mark.parametrize("name", LINES)
async def test_lines_that_differ_in_numbers_and_quoted_parts_are_one(conn, name):
    one, other, told = LINES[name]
    found = await conn.fetchrow("select _jobs_error_line($1), _jobs_error_line($2)", one, other)
    assert tuple(found) == (told, told)


async def test_words_without_a_digit_stay(conn):
    for line in ("a bad face", "cafe: dead end", "x-ray of a-b", "…"):
        assert await conn.fetchval("select _jobs_error_line($1)", line) == line


async def test_the_pattern_takes_no_long_time_whatever_the_text(conn):
    await conn.execute("set statement_timeout = '1 s'")
    for part in ("0x", "a-", "'", '"`', "1-", "b'", "\\", "1", "a", "-1.a"):
        text = part * 9999
        for _ in range(20):
            await conn.fetchval("select _jobs_error_line($1)", text)


@pytest.fixture
def attempt(conn):
    """Notes a failed attempt of a job that ended so long ago."""

    async def note(job_id, number=1, ago=timedelta(0), error="e", kind="E"):
        await conn.execute(
            """insert into jobs_attempts (
                job_id, job_type, attempt, ended_at, outcome, error_kind, error)
            select id, job_type, $2, clock_timestamp() - $3::interval, 'failed', $4, $5
            from jobs where id = $1""",
            job_id, number, ago, kind, error,
        )

    return note


@pytest.fixture
def failures(conn):
    async def read(within=HOUR, **arguments):
        named = "".join(f", {name} => ${n}" for n, name in enumerate(arguments, 2))
        return await conn.fetch(
            f"select * from _jobs_failures($1{named})", within, *arguments.values()
        )

    return read


async def test_each_group_tells_what_became_of_its_jobs(job, attempt, failures):
    good = await job("completed", attempt=2)
    failed = [await job("failed", attempt=1) for _ in range(2)]
    waits = await job(attempt=2)
    runs = await job("processing", attempt=2)
    for job_id in (good, *failed, waits, runs):
        await attempt(job_id, error=f"no order {job_id}")
    await attempt(waits, 2, error="no order 1")
    other = await job("failed", job_type="u", attempt=1)
    await attempt(other, error="no order 1")
    await attempt(other, kind="F", error="no order 1", number=0)
    *groups, read = await failures()
    assert [(g["job_type"], g["error_kind"], g["error_line"], g["attempts"], g["jobs"], g["failed"],
             g["retrying"]) for g in groups] == [
        ("t", "E", "no order *", 6, 5, 2, 2), ("u", "F", "no order *", 1, 1, 0, 0),
        ("u", "E", "no order *", 1, 1, 1, 0),
    ]
    first = groups[0]
    assert first["failed_ids"] == failed
    assert first["retrying_ids"] == [waits, runs]
    assert first["job_ids"] == [failed[1], waits, runs]
    assert (read["key"], read["attempts"]) == (None, 8)


async def test_a_job_counts_where_its_latest_failure_is(job, attempt, failures):
    both = await job("failed", attempt=2)
    await attempt(both, 1, 2 * timedelta(minutes=1), error="first")
    await attempt(both, 2, error="second")
    again = await job("failed", attempt=3)  # was retried by hand and has failed again since
    await attempt(again, 1, error="first")
    groups = {g["error_line"]: g for g in await failures()}
    assert (groups["first"]["jobs"], groups["first"]["failed"]) == (2, 0)
    assert (groups["second"]["jobs"], groups["second"]["failed"]) == (1, 1)


async def test_only_what_ended_in_the_period_is_read_the_newest_first(job, attempt, failures):
    ids = [await job("failed", attempt=1) for _ in range(4)]
    for job_id, hours in zip(ids, (3, 2, 0.5, 0.25), strict=True):
        await attempt(job_id, ago=hours * HOUR, error=f"e{'abcd'[ids.index(job_id)]}")
    assert [g["failed"] for g in await failures()] == [1, 1, None]
    *_, read = found = await failures(within=4 * HOUR, max_read=3)
    assert [g["error_line"] for g in found] == ["ed", "ec", "eb", None]
    assert read["attempts"] == 3
    *groups, _ = await failures(within=4 * HOUR, before=read["first_at"], max_read=3)
    assert [g["error_line"] for g in groups] == ["eb", "ea"]


async def test_a_type_and_a_queue_narrow_the_groups(job, attempt, failures):
    for job_type, queue in (("t", "a"), ("t", "b"), ("u", "b")):
        await attempt(await job("failed", job_type=job_type, queue=queue, attempt=1))
    assert [g["jobs"] for g in await failures()] == [2, 1, None]
    assert [(g["job_type"], g["jobs"]) for g in await failures(only_queue="b")][:-1] == [
        ("u", 1), ("t", 1)]
    assert [(g["job_type"], g["jobs"]) for g in await failures(only_type="t")][:-1] == [("t", 2)]
    assert (await failures(only_type="none"))[-1]["attempts"] == 3


async def test_a_group_is_found_by_its_key_and_without_errors_the_types_are_groups(
    job, attempt, failures
):
    for error in ("a", "b 1", "b 2"):
        await attempt(await job("failed", attempt=1), error=error)
    *groups, _ = await failures()
    assert len({g["key"] for g in groups}) == 2
    for group in groups:
        (found, _) = await failures(failure_key=group["key"])
        assert found == group
    (by_type, _) = await failures(by_error=False)
    assert (by_type["error_kind"], by_type["error_line"], by_type["jobs"]) == (None, None, 3)
    assert by_type["key"] not in {g["key"] for g in groups}


FILL = """
insert into jobs (job_type, status, attempt, finished_at)
    select 't', case when n % 10 = 0 then 'failed' else 'completed' end, 1, clock_timestamp()
    from generate_series(1, 100000) n;
insert into jobs_attempts (job_id, job_type, attempt, ended_at, outcome, error_kind, error)
    select j.id, 't', a, clock_timestamp() - (100000 - j.id) * interval '1 s', 'failed', 'E',
        'no order ' || j.id
    from jobs j, generate_series(1, 3) a where j.status = 'failed';
"""


@pytest.mark.parametrize("situation", ["without statistics", "planned when empty", "analysed"])
async def test_a_bounded_part_of_the_attempts_and_their_jobs_is_read_by_indexes(conn, situation):
    await conn.execute(
        "alter table jobs set (autovacuum_enabled = false);"
        " alter table jobs_attempts set (autovacuum_enabled = false)"
    )
    call = "select * from _jobs_failures('7 days', max_read => 500)"
    if situation == "planned when empty":
        await conn.execute("vacuum analyze jobs, jobs_attempts")
        for _ in range(7):
            await conn.fetch(call)
    await conn.execute(FILL)
    if situation == "analysed":
        await conn.execute("vacuum analyze jobs, jobs_attempts")
    counters = """select relname, seq_scan, coalesce(idx_tup_fetch, 0) as fetched
        from pg_stat_xact_user_tables where relname in ('jobs', 'jobs_attempts')"""
    async with conn.transaction():
        before = {row["relname"]: row for row in await conn.fetch(counters)}
        plan = json.loads(await conn.fetchval(f"explain (analyze, buffers, format json) {call}"))
        after = {row["relname"]: row for row in await conn.fetch(counters)}
    for table, most in (("jobs", 500), ("jobs_attempts", 1000)):
        assert after[table]["seq_scan"] == before[table]["seq_scan"]
        assert after[table]["fetched"] - before[table]["fetched"] <= most
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 5_000
