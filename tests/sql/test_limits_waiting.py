"""A claim that is not committed makes no claim of other groups wait."""


async def test_the_first_claim_of_a_queue_with_groups_makes_no_other_claim_wait(conn, connect):
    await conn.execute("""insert into jobs (job_type, group_key)
                       select 't', n % 4 from generate_series(1, 20) n""")
    other = await connect()
    transaction = other.transaction()
    await transaction.start()
    assert len(await other.fetch("select * from jobs_claim('other')")) == 1

    await conn.execute("set lock_timeout = '2s'")
    # Not those of the group that the other one has claimed from, whose lock it holds.
    assert len(await conn.fetch("select * from jobs_claim('one', max_jobs => 20)")) == 15
    await transaction.rollback()
    assert len(await conn.fetch("select * from jobs_claim('one', max_jobs => 20)")) == 5
