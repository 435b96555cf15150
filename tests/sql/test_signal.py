"""A signal names the queue for everybody, and for workers also who claims, from when on, which
levels."""

from datetime import UTC, datetime, timedelta

import pytest

SIGNAL = "select _jobs_signal('q', '2030-01-01 00:00:00.000001+00', 5, $1, $2)"
KEY = "select listening_key::text from jobs_workers where worker = $1"
AT = 1893456000000001  # that moment in microseconds


async def test_a_signal_has_the_picked_worker_the_levels_the_run_at_and_the_queue(
    conn, start_worker, ears, signal_ears
):
    await start_worker("w", queues=["q"])
    await ears.heard(), await signal_ears.heard()
    await conn.execute(SIGNAL, 1, None)
    key = await conn.fetchval(KEY, "w")
    assert await signal_ears.heard() == [f"{key} 5 {AT} q"]
    assert await ears.heard() == ["q"]


async def test_without_a_listening_worker_the_place_of_the_picked_worker_is_0(
    conn, start_worker, ears, signal_ears
):
    await start_worker("full", "full", ["q"])
    await start_worker("polling", "polling", ["q"])
    await ears.heard(), await signal_ears.heard()
    await conn.execute(SIGNAL, 1, None)
    assert await signal_ears.heard() == [f"0 5 {AT} q"]
    assert await ears.heard() == ["q"]


async def test_only_listening_workers_that_serve_the_queue_and_the_type_are_picked(
    conn, start_worker, signal_ears
):
    await start_worker("right", "listening", ["q"], ["t"])
    await start_worker("right too", "listening", ["default", "q"])
    await start_worker("another queue", "listening", ["default"])
    await start_worker("another type", "listening", ["q"], ["u"])
    await start_worker("polling", "polling", ["q"])
    await start_worker("full", "full", ["q"])
    await (await start_worker("gone", "listening", ["q"])).close()
    await signal_ears.heard()
    right = {await conn.fetchval(KEY, name) for name in ("right", "right too")}
    picked = set()
    for _ in range(40):
        await conn.execute(SIGNAL, 1, ["t"])
        (payload,) = await signal_ears.heard()
        picked.add(payload.split()[0])
    assert picked == right
    await conn.execute(SIGNAL, 99, ["t"])
    assert {payload.split()[0] for payload in await signal_ears.heard()} == right


@pytest.mark.parametrize(("jobs", "picked"), [(1, 1), (3, 3), (17, 16), (1000, 16)])
async def test_as_many_workers_are_picked_as_there_are_jobs_and_16_at_most(
    conn, start_worker, ears, signal_ears, jobs, picked
):
    for number in range(18):
        await start_worker(f"w{number}", queues=["q"])
    await ears.heard(), await signal_ears.heard()
    await conn.execute(SIGNAL, jobs, None)
    payloads = await signal_ears.heard()
    assert len(payloads) == picked == len({payload.split()[0] for payload in payloads})
    assert {payload.split(" ", 1)[1] for payload in payloads} == {f"5 {AT} q"}
    assert await ears.heard() == ["q"]


async def test_an_enqueued_batch_signals_its_least_run_at_and_its_levels_once_per_queue(
    conn, signal_ears
):
    await conn.execute(
        """insert into jobs (job_type, queue, priority, run_at) values
        ('t', 'a b', 9, '2030-01-01'), ('u', 'a b', -9, '2031-01-01'), ('t', 'c', 0, '2030-01-01')
        """
    )
    [at] = await conn.fetchrow("select min(run_at) from jobs")
    micros = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert sorted(await signal_ears.heard()) == [
        f"0 {1 << 18 | 1} {micros} a b", f"0 {1 << 9} {micros} c",
    ]


async def test_a_run_at_that_is_not_known_is_sent_as_0_with_all_levels(conn, signal_ears):
    await conn.execute("select jobs_resume('q')")
    assert await signal_ears.heard() == [f"0 {2**19 - 1} 0 q"]


async def test_retried_released_and_recovered_jobs_signal_their_run_at_and_level(
    conn, job, row, signal_ears
):
    failed = await job("failed", priority=1)
    released = await job("processing", priority=2, run_at=timedelta(hours=-1))
    lost = await job("processing", worker="you", priority=3, run_at=timedelta(hours=-2))
    again = await job("processing", priority=4)
    for statement, job_id in [
        ("select jobs_retry($1)", failed),
        ("select jobs_release_many('me', array[$1::bigint], '{1}')", released),
        ("select from jobs j cross join jobs_recover('you') where j.id = $1", lost),
        ("select jobs_fail($1, 'e', retry_in => '1 hour')", again),
    ]:
        await conn.execute(statement, job_id)
        after = await row(job_id)
        micros = (after["run_at"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        assert await signal_ears.heard() == [f"0 {1 << after['priority'] + 9} {micros} default"]


async def test_jobs_that_end_send_no_signal(conn, job, ears, signal_ears):
    for statement in ("jobs_complete($1)", "jobs_fail($1, 'e', false)", "jobs_cancel($1)"):
        job_id = await job("processing")
        await conn.execute(f"select {statement}", job_id)
    assert await ears.heard() == []
    assert await signal_ears.heard() == []


async def test_without_a_queue_no_signal_is_sent(conn, ears, signal_ears):
    await conn.execute("select _jobs_signal(null, now()), _jobs_signal_jobs('{}')")
    assert await ears.heard() == []
    assert await signal_ears.heard() == []
