UNKNOWN = "select * from _jobs_release_unknown('me', $1::bigint[])"


async def test_only_the_held_jobs_that_the_worker_does_not_know_are_pending_again(job, ids, row):
    known, unknown = await job("processing"), await job("processing", retry_count=1)
    others, ended = await job("processing", worker="you"), await job("completed", worker="me")
    before = [await row(kept) for kept in (known, others, ended)]
    assert await ids(UNKNOWN, [known, 99]) == [unknown]
    after = await row(unknown)
    assert (after["status"], after["worker"], after["lease_until"]) == ("pending", None, None)
    assert (after["retry_count"], after["crash_count"]) == (1, 0)
    assert [await row(kept) for kept in (known, others, ended)] == before


async def test_a_worker_that_knows_no_job_gives_back_all_jobs_that_it_holds(job, ids):
    held = [await job("processing"), await job("processing")]
    assert await ids(UNKNOWN, []) == held
    assert await ids(UNKNOWN, []) == []
