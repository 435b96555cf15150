"""What jobs_enqueue does where another job holds the unique_key: on_conflict."""

import asyncio
import json
from datetime import timedelta

import asyncpg
import pytest

from pgjobs.errors import DuplicateJob, InvalidArgument

HOUR = timedelta(hours=1)
KEYED = "select * from jobs_enqueue('t', unique_key => 'k', on_conflict => "
REPLACE = """select * from jobs_enqueue('t', $1::text::jsonb, unique_key => 'k',
    on_conflict => 'replace')"""
DEBOUNCE = """select * from jobs_enqueue('t', $1::text::jsonb, unique_key => 'k',
    run_at => clock_timestamp() + $2::interval, on_conflict => 'debounce', max_wait => '1 hour')"""
IS_NEW = "select _jobs_is_new($1)"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("unique_key => 'k', on_conflict => 'replce'",
         "on_conflict must be return, raise, replace or debounce, not replce"),
        ("on_conflict => 'raise'", "on_conflict raise needs a unique_key"),
        ("on_conflict => 'replace'", "on_conflict replace needs a unique_key"),
        ("max_wait => '1 s'", "max_wait needs a unique_key"),
        ("unique_for => '1 s'", "unique_for needs a unique_key"),
        ("unique_key => 'k', on_conflict => 'debounce'", "max_wait is missing"),
        ("unique_key => 'k', max_wait => '1 s'", "max_wait is for a job"),
        ("unique_key => 'k', on_conflict => 'replace', max_wait => '1 s'", "max_wait is for"),
        ("unique_key => 'k', on_conflict => 'debounce', max_wait => '0'", "max_wait must be"),
        ("unique_key => 'k', on_conflict => 'debounce', max_wait => '101 years'",
         "max_wait must be above 0 and at most 100 years"),
        ("unique_key => 'k', unique_scope => 'period'", "unique_for is missing"),
        ("unique_key => 'k', unique_for => '1 s'", "unique_for is the length of a period"),
        ("unique_key => 'k', unique_scope => 'period', unique_for => '-1 s'",
         "unique_for must be above 0"),
    ],
)
async def test_a_bad_argument_about_the_key_is_refused_alone_and_in_a_batch(
    conn, arguments, problem
):
    with pytest.raises(InvalidArgument, match=problem):
        await conn.execute(f"select jobs_enqueue('t', {arguments})")
    pairs = [pair.split(" => ") for pair in arguments.split(", ")]
    item = {"job_type": "t", **{name: value.strip("'") for name, value in pairs}}
    with pytest.raises(InvalidArgument, match=rf"jobs\[1\]: {problem}"):
        await conn.execute(
            "select jobs_enqueue_many($1::text::jsonb)", json.dumps([{"job_type": "t"}, item])
        )
    assert await conn.fetchval("select count(*) from jobs") == 0


async def test_without_a_holder_each_of_them_adds_a_job(conn):
    for how in ("null", "'return'", "'raise'", "'replace'", "'debounce', max_wait => '1 s'"):
        job_id = await conn.fetchval(f"{KEYED}{how})")
        assert await conn.fetchval(IS_NEW, job_id)
        await conn.execute("delete from jobs")


@pytest.mark.parametrize("status", ["pending", "blocked", "processing"])
async def test_raise_raises_and_names_the_job_that_holds_the_key(conn, job, row, status):
    holder = await job(status, unique_key="k")
    before = await row(holder)
    with pytest.raises(DuplicateJob, match=f"job {holder} .* holds the unique_key 'k'"):
        await conn.execute(f"{KEYED}'raise')")
    many = json.dumps([{"job_type": "u"},
                       {"job_type": "t", "unique_key": "k", "on_conflict": "raise"}])
    with pytest.raises(DuplicateJob):
        await conn.execute("select jobs_enqueue_many($1::text::jsonb)", many)
    assert [tuple(r) for r in await conn.fetch("select * from jobs")] == [tuple(before)]


@pytest.mark.parametrize("status", ["pending", "blocked"])
async def test_replace_gives_a_waiting_job_all_that_the_new_call_gives(conn, job, row, status):
    holder = await job(
        status, unique_key="k", priority=1, group_key="g", max_retries=7, reference_type="r",
        reference_id=1, expires_at=HOUR, headers='{"a": 1}',
    )
    before = await row(holder)
    replaced = await conn.fetchrow(
        """select * from jobs_enqueue('t', '[2]', unique_key => 'k', on_conflict => 'replace',
            queue => 'q', priority => 5, run_at => '2030-01-01Z', reference_type => 's',
            reference_key => 'x', max_retries => 0, backoff => '{1 s}', group_key => 'h',
            headers => '{"b": 2}', expires_at => '2031-01-01Z')"""
    )
    assert await conn.fetchval(IS_NEW, holder) is False
    assert replaced == await row(holder)
    kept = ("id", "created_at", "unique_key", "unique_scope", "status", "attempt")
    assert [replaced[name] for name in kept] == [before[name] for name in kept]
    assert (replaced["payload"], replaced["queue"], replaced["priority"]) == ("[2]", "q", 5)
    assert (replaced["run_at"].year, replaced["expires_at"].year) == (2030, 2031)
    assert (replaced["reference_type"], replaced["reference_id"]) == ("s", None)
    assert (replaced["reference_key"], replaced["group_key"]) == ("x", "h")
    assert (replaced["max_retries"], replaced["headers"]) == (0, '{"b": 2}')
    assert replaced["backoff"] == [timedelta(seconds=1)]
    assert replaced["updated_at"] > before["updated_at"]
    plain = await conn.fetchrow(REPLACE, "[3]")
    assert (plain["id"], plain["queue"], plain["priority"]) == (holder, "default", 0)
    assert (plain["max_retries"], plain["expires_at"], plain["headers"]) == (3, None, None)


async def test_replace_returns_a_job_that_runs_as_it_is(conn, job, row):
    holder = await job("processing", unique_key="k")
    before = await row(holder)
    assert await conn.fetchrow(REPLACE, "[2]") == before
    assert await row(holder) == before


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_replace_returns_a_kept_job_that_has_ended(conn, job, row, status):
    holder = await job(status, unique_key="k", unique_scope="kept")
    before = await row(holder)
    assert await conn.fetchrow(REPLACE, "[2]") == before == await row(holder)


@pytest.mark.parametrize("scope", ["live", "kept", "pending", "period"])
async def test_replace_takes_the_place_of_a_job_that_waits_for_a_retry(conn, job, row, scope):
    until = {"unique_until": "2100-01-01"} if scope == "period" else {}
    retrying = await job(
        attempt=1, retry_count=1, error="boom", unique_key="k", unique_scope=scope,
        run_at=HOUR, **{name: await conn.fetchval(f"select '{value}'::timestamptz")
                        for name, value in until.items()},
    )
    new = await conn.fetchrow(REPLACE, "[2]")
    assert new["id"] != retrying
    assert await conn.fetchval(IS_NEW, new["id"])
    assert (new["payload"], new["retry_count"], new["status"]) == ("[2]", 0, "pending")
    old = await row(retrying)
    assert (old["status"], old["error"]) == (
        "cancelled", "replaced by a newer job with its unique_key"
    )
    assert old["finished_at"] is not None


@pytest.mark.parametrize("how", ["return", "raise"])
async def test_return_and_raise_leave_a_job_that_waits_for_a_retry(conn, job, row, how):
    retrying = await job(attempt=1, retry_count=1, unique_key="k")
    before = await row(retrying)
    if how == "raise":
        with pytest.raises(DuplicateJob):
            await conn.execute(f"{KEYED}'raise')")
    else:
        assert await conn.fetchrow(f"{KEYED}'return')") == before
    assert await row(retrying) == before


async def test_debounce_moves_the_start_on_and_the_last_payload_wins(conn):
    first = await conn.fetchrow(DEBOUNCE, "[1]", timedelta(minutes=1))
    second = await conn.fetchrow(DEBOUNCE, "[2]", timedelta(minutes=2))
    assert second["id"] == first["id"]
    assert second["payload"] == "[2]"
    assert second["run_at"] - first["run_at"] > timedelta(seconds=59)


async def test_debounce_starts_no_later_than_max_wait_after_the_first_call(conn):
    await conn.execute(DEBOUNCE, "[1]", timedelta(minutes=1))
    await conn.execute("update jobs set created_at = created_at - interval '59 minutes'")
    late = await conn.fetchrow(DEBOUNCE, "[2]", timedelta(minutes=30))
    assert late["run_at"] == late["created_at"] + HOUR
    await conn.execute("update jobs set created_at = created_at - interval '59 minutes'")
    overdue = await conn.fetchrow(DEBOUNCE, "[3]", timedelta(minutes=30))
    assert (overdue["payload"], overdue["run_at"]) == ("[3]", overdue["created_at"] + HOUR)


async def test_the_first_call_of_debounce_is_capped_too(conn):
    first = await conn.fetchrow(DEBOUNCE, "[1]", 5 * HOUR)
    assert first["run_at"] <= first["created_at"] + HOUR
    assert first["run_at"] > first["created_at"] + timedelta(minutes=59)
    await conn.execute("truncate jobs")
    now = await conn.fetchrow(
        "select * from jobs_enqueue('t', unique_key => 'k', on_conflict => 'debounce',"
        " max_wait => '1 hour')"
    )
    assert now["run_at"] <= await conn.fetchval("select clock_timestamp()")


async def test_an_earlier_start_or_another_queue_wakes_sleepers_and_a_later_start_does_not(
    conn, ears
):
    await conn.execute(DEBOUNCE, "[1]", timedelta(minutes=10))
    await ears.heard()
    later = await conn.fetchrow(DEBOUNCE, "[1]", timedelta(minutes=20))
    assert await ears.heard() == []
    sooner = await conn.fetchrow(DEBOUNCE, "[1]", timedelta(minutes=5))
    assert sooner["run_at"] < later["run_at"]
    assert await ears.heard() == ["default"]
    elsewhere = "'replace', queue => 'q', run_at => '2100-01-01'"
    await conn.execute(REPLACE.replace("'replace'", elsewhere), "[1]")
    assert await ears.heard() == ["q"]


async def test_objects_of_a_batch_replace_each_other_in_their_order(conn, ids):
    jobs = [
        {"job_type": "t", "payload": n, "unique_key": "k", "on_conflict": "replace"}
        for n in range(5)
    ]
    answer = await ids("select * from jobs_enqueue_many($1::text::jsonb)", json.dumps(jobs))
    assert answer == answer[:1] * 5
    assert await conn.fetchval("select payload from jobs") == "4"


# -- two sessions


@pytest.mark.parametrize("how", ["raise", "return", "replace", "debounce', max_wait => '1 h"])
async def test_of_two_first_calls_the_second_waits_and_then_sees_the_first(
    conn, other, blocked, how
):
    async with conn.transaction():
        winner = await conn.fetchval(f"{KEYED}'{how}')")
        losing = asyncio.create_task(other.fetchrow(f"{KEYED}'{how}', payload => '[2]')"))
        await blocked(other)
    if how == "raise":
        with pytest.raises(DuplicateJob):
            await losing
    else:
        assert (await losing)["id"] == winner
    payload = "{}" if how in ("raise", "return") else "[2]"
    assert await conn.fetchval("select payload from jobs") == payload


async def test_of_two_that_replace_the_second_to_commit_wins(conn, other, job, blocked):
    holder = await job(unique_key="k")
    async with conn.transaction():
        await conn.execute(REPLACE, "[1]")
        second = asyncio.create_task(other.fetchrow(REPLACE, "[2]"))
        await blocked(other)
    assert (await second)["id"] == holder
    assert await conn.fetchval("select payload from jobs") == "[2]"


async def test_a_claim_skips_a_job_that_is_being_replaced(conn, other, job):
    holder = await job(unique_key="k")
    async with conn.transaction():
        await conn.execute(REPLACE, "[1]")
        assert await other.fetch("select from jobs_claim('w')") == []
    (claimed,) = await other.fetch("select * from jobs_claim('w')")
    assert (claimed["id"], claimed["payload"]) == (holder, "[1]")


@pytest.mark.parametrize("scope", ["live", "pending"])
async def test_replace_waits_for_a_claim_and_then_changes_nothing_of_what_it_took(
    conn, other, job, row, blocked, scope
):
    holder = await job(unique_key="k", unique_scope=scope)
    replace = REPLACE.replace("'replace'", f"'replace', unique_scope => '{scope}'")
    async with conn.transaction():
        await conn.execute("select from jobs_claim('w')")
        replacing = asyncio.create_task(other.fetchrow(replace, "[1]"))
        await blocked(other)
    replaced = await replacing
    assert (await row(holder))["payload"] == "{}"
    if scope == "live":
        assert (replaced["id"], replaced["payload"]) == (holder, "{}")
    else:
        # The running job holds its key no more, so the event during the run is one more job.
        assert (replaced["id"] != holder, replaced["payload"]) == (True, "[1]")


async def test_replace_waits_for_a_cancellation_and_then_adds_a_job(conn, other, job, blocked):
    holder = await job(unique_key="k")
    async with conn.transaction():
        await conn.execute("select jobs_cancel($1)", holder)
        replacing = asyncio.create_task(other.fetchrow(REPLACE, "[1]"))
        await blocked(other)
    assert (await replacing)["id"] != holder
    assert await conn.fetchval("select count(*) from jobs where status = 'pending'") == 1


async def test_of_two_that_replace_a_retry_one_adds_a_job_and_the_other_replaces_that_one(
    conn, other, job, blocked
):
    await job(attempt=1, retry_count=1, unique_key="k")
    async with conn.transaction():
        new = await conn.fetchval(REPLACE, "[1]")
        second = asyncio.create_task(other.fetchrow(REPLACE, "[2]"))
        await blocked(other)
    assert ((await second)["id"], (await second)["payload"]) == (new, "[2]")
    statuses = await conn.fetch("select status from jobs order by id")
    assert [r["status"] for r in statuses] == ["cancelled", "pending"]


async def test_a_retry_that_a_claim_takes_meanwhile_is_not_ended(conn, other, job, row, blocked):
    retrying = await job(attempt=1, retry_count=1, unique_key="k")
    async with conn.transaction():
        await conn.execute("select from jobs_claim('w')")
        replacing = asyncio.create_task(other.fetchrow(REPLACE, "[1]"))
        await blocked(other)
    assert (await replacing)["id"] == retrying
    assert (await row(retrying))["status"] == "processing"


async def test_a_role_that_may_not_read_jobs_may_replace_and_gets_its_own_payload_only(
    conn, job, make_role, acting_as
):
    waits = await job(unique_key="k", payload='"secret"', error="secret")
    await job("processing", unique_key="l", payload='"secret"')
    async with acting_as(await make_role("producer")):
        mine = await conn.fetchrow(REPLACE, '"mine"')
        assert (mine["id"], mine["payload"]) == (waits, '"mine"')
        theirs = await conn.fetchrow(REPLACE.replace("'k'", "'l'"), '"mine"')
        assert (theirs["payload"], theirs["error"]) == (None, None)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute("select payload from jobs")
