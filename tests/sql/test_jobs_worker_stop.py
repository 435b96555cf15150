import pytest

from pgjobs.errors import WorkerNameTaken

START = "select jobs_worker_start('w', '{default}', null, 1)"


async def test_a_stop_deletes_the_row_and_the_end_of_the_session_frees_the_name(conn, other):
    await other.execute(START)
    await other.execute("select jobs_worker_stop('w')")
    assert await conn.fetch("select * from jobs_workers") == []
    assert await conn.fetch("select * from jobs_worker_ticks") == []
    with pytest.raises(WorkerNameTaken):
        await conn.execute(START)
    await other.close()
    await conn.execute(START)


async def test_a_worker_that_is_not_registered_may_stop(conn):
    await conn.execute("select jobs_worker_stop('w')")
