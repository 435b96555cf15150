UNKNOWN = "select * from _jobs_release_unknown('me', $1::bigint[])"


async def test_what_is_held_and_not_known_is_pending_again_and_nothing_else(job, ids, row):
    known, unknown = await job("processing"), await job("processing", retry_count=1)
    others, ended = await job("processing", worker="you"), await job("completed", worker="me")
    before = [await row(kept) for kept in (known, others, ended)]
    assert await ids(UNKNOWN, [known, 99]) == [unknown]
    after = await row(unknown)
    assert (after["status"], after["worker"], after["lease_until"]) == ("pending", None, None)
    assert (after["retry_count"], after["crash_count"]) == (1, 0)
    assert [await row(kept) for kept in (known, others, ended)] == before


async def test_who_knows_of_none_gives_all_back_and_who_holds_none_gives_nothing(job, ids):
    held = [await job("processing"), await job("processing")]
    assert await ids(UNKNOWN, []) == held
    assert await ids(UNKNOWN, []) == []
