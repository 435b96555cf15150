from datetime import timedelta


async def test_the_default_delay_is_bounded_for_any_number_of_retries(conn):
    for retry in [1, 13, 2_147_483_647]:
        delay = await conn.fetchval("select _jobs_retry_delay(null, $1)", retry)
        assert timedelta(seconds=3.75) <= delay <= timedelta(hours=1.25)


async def test_jitter_spreads_jobs_that_failed_together(conn):
    delays = await conn.fetch("select _jobs_retry_delay(null, 2) from generate_series(1, 1000)")
    seconds = sorted(delay[0].total_seconds() for delay in delays)
    assert 22.5 <= seconds[0] < 24 < 36 < seconds[-1] <= 37.5


async def test_a_backoff_list_is_exact_and_its_last_delay_repeats(conn):
    query = "select _jobs_retry_delay('{1s,1m}', $1)"
    delays = [(await conn.fetchval(query, retry)).total_seconds() for retry in (1, 2, 3)]
    assert delays == [1, 60, 60]


async def test_a_delay_that_leads_out_of_the_calendar_does_not_stop_recovery(conn, job, row):
    # The interval compares as one day. A batch without keys is checked by the table alone.
    poison = await job(crash_count=1, backoff=None)
    await conn.execute(
        "update jobs set backoff = '{-290000 years 104400001 days}', status = 'processing',"
        " worker = 'gone', attempt = 1, lease_until = clock_timestamp() - interval '1 s'"
    )
    await conn.execute("select from jobs_recover()")
    after = await row(poison)
    assert (after["status"], after["crash_count"]) == ("pending", 2)
