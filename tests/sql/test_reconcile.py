"""After a claim whose answer was lost a worker names what it holds; the rest is given back."""

from datetime import timedelta

RECONCILE = "select released, is_settled from _jobs_reconcile('me', $1, $2, $3)"
NOW = timedelta(0)


async def test_what_the_worker_does_not_name_is_pending_again(conn, job, row):
    named = await job("processing", started_at=NOW)
    unnamed = await job("processing", started_at=NOW, retry_count=1)
    older = await job("processing", started_at=NOW, attempt=2)
    others = await job("processing", started_at=NOW, worker="you")
    ended = await job("completed", started_at=NOW, worker="me")
    before = [await row(kept) for kept in (named, others, ended)]
    found = await conn.fetchrow(RECONCILE, [named, older, 99], [1, 1, 1], None)
    assert found["released"] == 2
    after = await row(unnamed)
    assert (after["status"], after["worker"], after["lease_until"]) == ("pending", None, None)
    assert (after["retry_count"], after["crash_count"]) == (1, 0)
    assert (await row(older))["status"] == "pending"
    assert [await row(kept) for kept in (named, others, ended)] == before


async def test_a_worker_that_names_no_job_gives_back_all_jobs_that_it_holds(conn, job):
    for _ in range(2):
        await job("processing", started_at=NOW)
    assert (await conn.fetchrow(RECONCILE, [], [], None))["released"] == 2
    assert (await conn.fetchrow(RECONCILE, [], [], None))["released"] == 0


async def test_it_is_settled_when_the_process_that_served_the_claim_is_gone(conn, connect):
    claiming, observer = await connect(), await connect()
    backend = claiming.get_server_pid()
    assert not (await conn.fetchrow(RECONCILE, [], [], backend))["is_settled"]
    await claiming.close()
    while await observer.fetchval(
        "select exists (select from pg_stat_activity where pid = $1)", backend
    ):
        pass
    assert (await conn.fetchrow(RECONCILE, [], [], backend))["is_settled"]


async def test_it_is_not_settled_when_the_process_is_not_known(conn):
    assert not (await conn.fetchrow(RECONCILE, [], [], None))["is_settled"]


async def test_a_claim_under_way_is_given_back_by_the_next_call(conn, connect, job, row):
    """Its process is read first: whoever is told `settled` has given back all of its claims."""
    waiting = await job()
    claiming = await connect()
    async with claiming.transaction():
        await claiming.execute("select from jobs_claim('me')")
        found = await conn.fetchrow(RECONCILE, [], [], claiming.get_server_pid())
        assert tuple(found) == (0, False)
    found = await conn.fetchrow(RECONCILE, [], [], claiming.get_server_pid())
    assert tuple(found) == (1, False)
    assert (await row(waiting))["status"] == "pending"


async def test_a_row_that_another_session_has_locked_is_not_waited_for(conn, other, job, row):
    locked, free = [await job("processing", started_at=NOW) for _ in range(2)]
    await conn.execute("set lock_timeout = '1s'")
    async with other.transaction():
        await other.execute("select from jobs where id = $1 for share", locked)
        assert (await conn.fetchrow(RECONCILE, [], [], None))["released"] == 1
    assert (await row(free))["status"] == "pending"
    assert (await conn.fetchrow(RECONCILE, [], [], None))["released"] == 1


async def test_it_is_not_settled_while_a_job_that_is_not_named_could_not_be_given_back(
    conn, other, job
):
    gone = 2**22 + 1  # above the greatest process id
    locked, named = [await job("processing", started_at=NOW) for _ in range(2)]
    async with other.transaction():
        await other.execute("select from jobs where id = $1 for share", locked)
        assert tuple(await conn.fetchrow(RECONCILE, [named], [1], gone)) == (0, False)
    assert tuple(await conn.fetchrow(RECONCILE, [named], [1], gone)) == (1, True)
