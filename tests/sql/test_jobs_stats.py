from datetime import timedelta


async def test_jobs_are_counted_per_queue_type_and_status(conn, job):
    for _ in range(2):
        await job()
    await job(queue="q")
    await job(job_type="u")
    await job("failed")
    counts = await conn.fetch(
        "select queue, job_type, status, count from jobs_stats order by 1, 2, 3"
    )
    assert [tuple(r) for r in counts] == [
        ("default", "t", "failed", 1),
        ("default", "t", "pending", 2),
        ("default", "u", "pending", 1),
        ("q", "t", "pending", 1),
    ]


async def test_oldest_due_is_the_age_of_the_pending_job_that_has_been_due_longest(conn, job):
    await job(run_at=timedelta(hours=-2))
    await job(run_at=timedelta(hours=-1))
    await job(run_at=timedelta(hours=1), job_type="future")
    await job("processing", run_at=timedelta(hours=-9))
    ages = dict(await conn.fetch("select job_type || status, oldest_due from jobs_stats"))
    assert timedelta(hours=2) <= ages["tpending"] < timedelta(hours=2, minutes=1)
    assert ages["futurepending"] is None
    assert ages["tprocessing"] is None
