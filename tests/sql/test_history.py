"""jobs_history, jobs_totals and jobs_durations: how many attempts ended, and how long they took."""

import json
from datetime import timedelta

import pytest

BUCKETS = 23


async def totals(conn):
    rows = await conn.fetch(
        """select queue, job_type, outcome, jobs from _jobs_totals()
        order by 1 nulls last, 2, 3"""
    )
    return [tuple(row) for row in rows]


async def add_up(conn):
    while await conn.fetchval("select _jobs_history_add()"):
        pass


async def note(conn, *ends):
    """As a worker tells it: labels, jobs, waited_s, waits, ran_s, runs."""
    await conn.execute("select _jobs_note_ends($1)", json.dumps(ends))


def told(queue="default", job_type="t", outcome="completed", jobs=1, bucket=1):
    return (queue, job_type, outcome, jobs, 0.001 * jobs, {bucket: jobs}, 0.001 * jobs,
            {bucket: jobs})


async def history(conn):
    rows = await conn.fetch(
        """select span, queue, job_type, outcome, jobs, waits, runs from jobs_history
        order by starts_at, span, queue nulls last, job_type, outcome"""
    )
    return [tuple(row) for row in rows]


ENDS = {
    "jobs_complete": ("select jobs_complete($1)", "completed"),
    "jobs_complete_many":
        ("select jobs_complete_many('me', array[$1::bigint], '{1}', '{null}')", "completed"),
    "deleted":
        ("select jobs_complete_many('me', array[$1::bigint], '{1}', '{null}', false)", "completed"),
    "jobs_fail": ("select jobs_fail($1, 'e', retry => false)", "failed"),
    "retried": ("select jobs_fail($1, 'e')", "retried"),
    "jobs_fail_many": (
        "select jobs_fail_many('me', array[$1::bigint], '{1}', '{e}', '{false}', '{null}')",
        "failed"),
    "jobs_cancel": ("select jobs_cancel($1, worker => 'me', attempt => 1)", "cancelled"),
    "released after a request to cancel": ("""select jobs_cancel($1),
        jobs_release_many('me', array[$1::bigint], '{1}')""", "cancelled"),
    "lost": ("""with late as (
        update jobs set lease_until = 'yesterday' where id = $1 returning id)
        select from late""", "lost"),
    "lost too often": ("""with late as (
        update jobs set crash_count = 3, lease_until = 'yesterday' where id = $1 returning id)
        select from late""", "failed"),
}


@pytest.mark.parametrize("end", ENDS)
async def test_each_function_that_ends_an_attempt_counts_it_once(conn, job, end):
    statement, outcome = ENDS[end]
    job_id = await job("processing")
    await conn.execute(statement, job_id)
    await conn.execute("select jobs_recover()")
    assert await totals(conn) == [("default", "t", outcome, 1)]
    await add_up(conn)
    assert await totals(conn) == [("default", "t", outcome, 1)]
    assert await conn.fetchval("select count(*) from jobs_ends") == 0


ENDS_BEFORE_A_START = {
    "jobs_cancel": "select jobs_cancel($1)",
    "jobs_cancel_many": "select jobs_cancel_many(array[$1::bigint])",
    "downstream": """with parent as (select id from jobs_enqueue('p', depends_on => array[$1]))
        select jobs_cancel(id) from parent""",
    "expired": """with late as (
        update jobs set expires_at = clock_timestamp() where id = $1 returning id)
        select from late""",
}


@pytest.mark.parametrize("end", ["jobs_cancel", "jobs_cancel_many", "expired"])
async def test_a_job_that_ends_before_its_start_counts_and_has_no_durations(conn, job, end):
    job_id = await job()
    await conn.execute(ENDS_BEFORE_A_START[end], job_id)
    await conn.execute("select _jobs_expire(10)")
    await add_up(conn)
    nobody = [0] * BUCKETS
    assert await history(conn) == [
        (timedelta(minutes=1), "default", "t", "cancelled", 1, nobody, nobody)
    ]


async def test_a_job_that_is_cancelled_while_it_waits_for_a_retry_has_no_further_durations(conn):
    await conn.execute("select jobs_enqueue('t')")
    job_id = await conn.fetchval("select id from jobs_claim('me')")
    await conn.execute("select jobs_fail($1, 'e')", job_id)
    await conn.execute("select jobs_cancel($1)", job_id)
    await add_up(conn)
    counted = sorted((row[3], row[4], sum(row[5]), sum(row[6])) for row in await history(conn))
    assert counted == [("cancelled", 1, 0, 0), ("retried", 1, 1, 1)]


async def test_a_released_attempt_does_not_count(conn, job):
    job_id = await job("processing")
    await conn.execute("select jobs_release_many('me', array[$1::bigint], '{1}')", job_id)
    assert await totals(conn) == []


async def test_a_stale_end_does_not_count(conn, job):
    job_id = await job("processing")
    for keep in (True, False):
        await conn.execute(
            "select jobs_complete_many('me', array[$1::bigint], '{7}', '{null}', $2)", job_id, keep
        )
    assert await totals(conn) == []


async def test_an_end_counts_with_the_transaction_that_made_it(conn, job):
    job_id = await job("processing")
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute("select jobs_complete($1)", job_id)
    await transaction.rollback()
    assert await totals(conn) == []


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0, 1), (0.0019, 1), (0.002, 2), (0.0039, 2), (0.004, 3), (1, 10), (4194.3, 22),
     (4195, 23), (1e9, 23)],
)
async def test_a_duration_counts_in_the_bucket_of_the_next_power_of_two(conn, seconds, bucket):
    # A worker computes the same.
    assert min(max(int(seconds * 1000).bit_length(), 1), BUCKETS) == bucket
    assert await conn.fetchval("select _jobs_bucket($1)", seconds) == bucket


async def test_waits_and_runs_are_those_of_the_attempt(conn, job):
    minute = timedelta(minutes=1)
    await job("processing", run_at=-6 * minute, started_at=-4 * minute)
    await conn.execute("select jobs_complete(id) from jobs")
    await job("processing", run_at=-6 * minute, started_at=-4 * minute)
    await conn.execute("select jobs_fail(id, 'e') from jobs where status = 'processing'")
    await add_up(conn)
    waits, runs = [0] * BUCKETS, [0] * BUCKETS
    waits[16], runs[17] = 1, 1  # up to 131 s, and up to 262 s
    assert await history(conn) == [
        (timedelta(minutes=1), "default", "t", outcome, 1, waits, runs)
        for outcome in ("completed", "retried")
    ]
    seconds = await conn.fetch("select waited_s, ran_s from jobs_durations")
    assert [(round(waited, -1), round(ran, -1)) for waited, ran in seconds] == [(240, 480)]


async def test_what_comes_later_in_a_minute_is_added_to_its_row(conn):
    for jobs in (2, 3):
        await note(conn, told(jobs=jobs, bucket=4))
        await add_up(conn)
    waits = [0] * BUCKETS
    waits[3] = 5
    rows = await history(conn)
    assert rows in (
        [(timedelta(minutes=1), "default", "t", "completed", 5, waits, waits)],
        # The minute was over in between.
        [(timedelta(minutes=1), "default", "t", "completed", jobs, [0, 0, 0, jobs] + [0] * 19,
          [0, 0, 0, jobs] + [0] * 19) for jobs in (2, 3)],
    )
    assert await totals(conn) == [("default", "t", "completed", 5)]


async def test_what_is_beyond_the_thousandth_set_of_labels_is_summed_as_other(conn):
    await note(conn, *(told(job_type=f"t{n}", jobs=1 + (n < 500)) for n in range(1_200)))
    assert await totals(conn) == []
    await add_up(conn)
    before = await totals(conn)
    assert len(before) == 1_001
    assert before[-1] == (None, None, "completed", 200)
    assert await conn.fetchval("select sets from _jobs_totals() where queue is null") == 200
    assert sum(row[3] for row in before) == 1_700
    assert {f"t{n}" for n in range(500)} < {row[1] for row in before}
    rows = await history(conn)
    assert len(rows) == 1_001
    assert rows[-1][1:5] == (None, None, "completed", 200)
    assert rows[-1][5][0] == 200
    durations = await conn.fetch("select queue, job_type, runs from jobs_durations")
    assert len(durations) == 101
    assert sum(sum(row["runs"]) for row in durations) == 1_700


async def test_no_total_ever_decreases(conn):
    await note(conn, *(told(job_type=f"t{n}") for n in range(1_001)))
    await add_up(conn)
    first = {row[:3]: row[3] for row in await totals(conn)}
    await note(conn, *(told(job_type=f"u{n}", jobs=9) for n in range(1_001)))
    for _ in range(2):
        then = {row[:3]: row[3] for row in await totals(conn)}
        assert set(first) <= set(then)
        assert all(then[labels] >= jobs for labels, jobs in first.items())
        await add_up(conn)


async def test_a_set_of_labels_leaves_after_sixty_days_without_an_end(conn):
    await note(conn, told(job_type="old"), told(job_type="new"))
    await add_up(conn)
    await conn.execute(
        "update jobs_totals set counted_at = now() - interval '61 days' where job_type = 'old'"
    )
    await conn.execute("select _jobs_history_tidy()")
    assert await totals(conn) == [("default", "new", "completed", 1)]


async def test_the_busiest_types_of_the_hour_take_the_places_of_others(conn):
    await note(conn, *(told(job_type=f"t{n}") for n in range(100)))
    await add_up(conn)
    await note(conn, told(job_type="busy", jobs=1_000))
    await add_up(conn)
    await conn.execute("select _jobs_history_tidy()")
    assert await conn.fetchval("select count(*) from jobs_durations where queue is not null") == 99
    await note(conn, told(job_type="busy", jobs=5))
    await add_up(conn)
    assert await conn.fetchval("select runs[1] from jobs_durations where job_type = 'busy'") == 5
    assert await conn.fetchval("select runs[1] from jobs_durations where queue is null") == 1_000


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
async def test_minutes_become_hours_after_two_days(conn, zone):
    await conn.execute(f"set timezone = '{zone}'")
    ended_at = """update jobs_ends
        set noted_at = date_trunc('hour', now(), 'UTC') - interval '3 days' + $1::interval
        where noted_at > now() - interval '1 day'"""
    await note(conn, told(jobs=2), told(job_type="u", jobs=7))
    await conn.execute(ended_at, timedelta(minutes=4))
    await note(conn, told(jobs=3))
    await conn.execute(ended_at, timedelta(minutes=59, seconds=59))
    await add_up(conn)
    await conn.execute("select _jobs_history_tidy()")
    rows = await conn.fetch("select starts_at, span, job_type, jobs from jobs_history order by 3")
    assert [(f"{row[0]:%M:%S}", row[1], row[2], row[3]) for row in rows] == [
        ("00:00", timedelta(hours=1), "t", 5), ("00:00", timedelta(hours=1), "u", 7)
    ]


async def test_hours_are_deleted_after_sixty_days(conn):
    await note(conn, told())
    await add_up(conn)
    for days in (59, 61):
        await conn.execute(
            """insert into jobs_history
            select '1 hour', now() - make_interval(days => $1), queue, job_type, outcome, jobs,
                waited_s, waits, ran_s, runs
            from jobs_history where span = '1 minute'""", days,
        )
    await conn.execute("select _jobs_history_tidy()")
    assert await conn.fetchval("select count(*) from jobs_history where span = '1 hour'") == 1


@pytest.mark.parametrize(
    "ends",
    ["42", '"text"', "[1]", '[["a"]]', '[["q","t","completed","many"]]',
     '[["q","t",null,1,0,{},0,{}]]', "{}", "null", '[["q\\u0000","t","completed",1,0,{},0,{}]]',
     '[["q","t","completed",1,0,{"1":3000000000},0,{}]]',
     '[["q","t","completed",1,"NaN",{},0,{}]]', '[["q","t","completed",-1,0,{},0,{}]]'],
)
async def test_a_row_that_cannot_be_read_is_left_out_and_the_others_count(conn, ends):
    await note(conn, told())
    await conn.execute("select _jobs_note_ends($1)", ends)
    await note(conn, told(job_type="u"))
    await add_up(conn)
    assert await totals(conn) == [
        ("default", "t", "completed", 1), ("default", "u", "completed", 1)
    ]
    assert await conn.fetchval("select count(*) from jobs_ends") == 0


async def test_two_sessions_never_add_the_same_row(conn, connect):
    other = await connect()
    await note(conn, told())
    transaction = other.transaction()
    await transaction.start()
    await other.execute("select _jobs_history_add()")
    await note(conn, told(job_type="u"))
    assert not await conn.fetchval("select _jobs_history_add()")
    await transaction.commit()
    await add_up(conn)
    assert await totals(conn) == [
        ("default", "t", "completed", 1), ("default", "u", "completed", 1)
    ]


async def test_an_open_transaction_that_ended_a_job_holds_up_nobody(conn, connect, job):
    mine, theirs = await job("processing"), await job("processing")
    other = await connect()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("select jobs_complete($1)", theirs)
    await conn.execute("set lock_timeout = '1s'")
    await conn.execute("select jobs_complete($1)", mine)
    await add_up(conn)
    await transaction.commit()
    await add_up(conn)
    assert await totals(conn) == [("default", "t", "completed", 2)]


@pytest.mark.parametrize(
    ("counts", "fraction", "seconds"),
    [
        ([], 0.5, None),
        ([0] * BUCKETS, 0.5, None),
        ([4] + [0] * 22, 0.5, 0.001),
        ([0, 4] + [0] * 21, 0.5, 0.003),
        ([2, 2] + [0] * 21, 0.5, 0.002),
        ([99, 1] + [0] * 21, 0.99, 0.002),
        ([0] * 9 + [10] + [0] * 13, 1, 1.024),
        ([0] * 9 + [10] + [0] * 13, 0, 0.512),
        ([0] * 22 + [3], 0.95, 4194.304),
        ([1] * BUCKETS, 2, None),
    ],
)
async def test_a_quantile_lies_within_the_bucket_of_its_rank(conn, counts, fraction, seconds):
    found = await conn.fetchval("select jobs_quantile($1::bigint[], $2)", counts, fraction)
    assert found == (None if seconds is None else pytest.approx(seconds))


async def test_recovery_in_another_isolation_adds_nothing_up_and_raises_nothing(conn, connect):
    other = await connect()
    transaction = other.transaction(isolation="repeatable_read")
    await transaction.start()
    await other.execute("select from jobs_ends")
    for _ in range(2):
        await note(conn, told())
        await add_up(conn)
    await note(conn, told())
    await other.execute("select jobs_recover()")
    await transaction.commit()
    assert await totals(conn) == [("default", "t", "completed", 3)]


async def test_counts_that_overflow_are_left_out_and_the_next_ones_count(conn):
    for _ in range(2):
        await note(conn, ("q", "t", "completed", 1, 0, {1: 2_000_000_000}, 0, {}))
    await note(conn, told(job_type="u"))
    await add_up(conn)
    assert await conn.fetchval("select count(*) from jobs_ends") == 0
    assert ("default", "u", "completed", 1) in await totals(conn)


async def test_a_label_that_no_job_can_have_is_left_out(conn):
    await note(conn, told(queue="x" * 513), told(job_type="y" * 20_000), told())
    await add_up(conn)
    assert await totals(conn) == [("default", "t", "completed", 1)]


async def test_a_histogram_never_decreases_by_what_a_worker_tells(conn):
    await note(conn, told(jobs=9))
    await add_up(conn)
    await note(conn, ("default", "t", "completed", 1, 0, {1: -8}, 0, {1: -8}))
    await add_up(conn)
    assert await conn.fetchval("select waits[1] from jobs_durations") == 9


async def test_an_open_transaction_that_cleaned_up_holds_up_no_worker(conn, connect):
    other = await connect()
    await conn.execute("select jobs_worker_start('w', '{default}', null, 1)")
    await note(conn, told())
    async with other.transaction():
        await other.execute("select jobs_cleanup(), jobs_recover()")
        assert not await conn.fetchval("select _jobs_history_add()")
        assert await conn.fetchval("select count(*) from jobs_ends") == 0
    assert await totals(conn) == [("default", "t", "completed", 1)]


async def test_a_set_of_labels_is_shown_before_it_is_added_up_only_where_there_is_room(conn):
    await note(conn, *(told(job_type=f"t{n}") for n in range(999)))
    await add_up(conn)
    await note(conn, told(job_type="a", jobs=5), told(job_type="b", jobs=4))
    before = {row[:3]: row[3] for row in await totals(conn)}
    await note(conn, told(job_type="b", jobs=10))
    await add_up(conn)
    after = {row[:3]: row[3] for row in await totals(conn)}
    assert all(after[labels] >= jobs for labels, jobs in before.items())
    assert sum(after.values()) == 999 + 19


async def test_a_minute_of_a_clock_that_was_ahead_holds_up_no_tidying(conn):
    await note(conn, told())
    await conn.execute("update jobs_ends set noted_at = now() + interval '300 days'")
    await add_up(conn)
    await note(conn, told(job_type="old"))
    await conn.execute("update jobs_ends set noted_at = now() - interval '3 days'")
    await add_up(conn)
    await note(conn, told(job_type="new"))
    await add_up(conn)
    assert await conn.fetchval("select job_type from jobs_history where span = '1 hour'") == "old"
