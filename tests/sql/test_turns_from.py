"""The lower bound from which claims read turns never passes over a turn."""

CLAIM = "select group_key from jobs_claim('me', max_jobs => 9)"
ENQUEUE = "select from jobs_enqueue('t', group_key => $1)"


async def test_a_turn_of_a_transaction_that_was_open_when_the_bound_was_marked_is_read(conn, other):
    await conn.execute(ENQUEUE, "first")
    assert await conn.fetchval(CLAIM) == "first"
    transaction = other.transaction()
    await transaction.start()
    await other.execute(ENQUEUE, "late")
    for _ in range(3):
        await conn.execute("select _jobs_raise_turns_from('default')")
        await conn.execute("select pg_current_xact_id()")
    await transaction.commit()
    assert await conn.fetchval(CLAIM) == "late"


async def test_the_bound_rises_when_all_transactions_from_before_the_mark_have_ended(conn):
    await conn.execute(ENQUEUE, "first")
    assert await conn.fetchval(CLAIM) == "first"
    bound = "select turns_from > $1 from jobs_turns_from"
    began = await conn.fetchval("select clock_timestamp()")
    for _ in range(3):
        await conn.execute("select _jobs_raise_turns_from('default')")
    assert await conn.fetchval(bound, began)


async def test_a_claim_does_not_wait_for_one_in_an_open_transaction(conn, other):
    await conn.execute("select jobs_limit('default', max_running_per_group => 9)")
    await other.execute("set lock_timeout = '1 s'")
    for _ in range(2):
        for group in "abcdef":
            await conn.execute(ENQUEUE, group)
        async with conn.transaction():
            assert len(await conn.fetch(CLAIM.replace("9", "2"))) == 2
            await conn.execute("select _jobs_raise_turns_from('default')")
            assert len(await other.fetch(CLAIM)) > 0
            await other.execute("select _jobs_raise_turns_from('default')")
