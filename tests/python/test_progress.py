"""What a handler reports is written once a second, for all jobs of a worker together."""

import asyncio
import time
from typing import Any

import pytest

from pgjobs import InvalidArgument, RunningJob
from pgjobs.testing import make_job


async def progress(conn: Any, job_id: int) -> str | None:
    text: str | None = await conn.fetchval("select progress from jobs where id = $1", job_id)
    return text


async def test_the_latest_report_of_a_running_job_can_be_read(app, conn, working):
    seen = asyncio.Event()

    @app.job("async")
    async def in_loop(job: RunningJob[Any]) -> Any:
        for page in range(1_000):
            job.report_progress(page, 1_000, f"page {page}\0\ud800")
        assert job.progress == {"done": 999, "total": 1_000, "note": "page 999\ufffd?"}
        await seen.wait()

    @app.job("plain")
    def in_thread(job: RunningJob[Any]) -> Any:
        job.report_progress(0.5)
        while not seen.is_set():
            time.sleep(0.01)

    async with working():
        jobs = [await app.enqueue("async"), await app.enqueue("plain")]
        async with asyncio.timeout(10):
            while None in [await progress(conn, job.id) for job in jobs]:
                await asyncio.sleep(0.01)
        fresh = [await job.refresh() for job in jobs]
        seen.set()
        await app.wait(jobs)
    assert fresh[0].progress == {"done": 999, "total": 1_000, "note": "page 999\ufffd?"}
    assert fresh[1].progress == {"done": 0.5}


async def test_many_reports_are_few_statements(app, conn, working):
    await conn.execute(
        """create table calls (jobs int);
        create function note() returns trigger language plpgsql as $$
        begin insert into calls select count(*) from changed where status = 'processing';
            return null; end $$;
        create trigger note after update on jobs referencing new table as changed
            for each statement when (pg_trigger_depth() = 0) execute function note()"""
    )

    @app.job("t")
    async def handler(job: RunningJob[Any]) -> Any:
        for part in range(60):
            job.report_progress(part, 60)
            await asyncio.sleep(0.025)

    async with working():
        jobs = [await app.enqueue("t") for _ in range(10)]
        async with asyncio.timeout(10):
            while await progress(conn, jobs[-1].id) is None:
                await asyncio.sleep(0.01)
        await conn.execute("truncate calls")
        await asyncio.sleep(0.9)
        calls = [row["jobs"] for row in await conn.fetch("select jobs from calls where jobs > 0")]
        await app.wait(jobs)
    assert len(calls) <= 1, calls


@pytest.mark.parametrize(
    "arguments", [("1",), (1, "2"), (float("nan"),), (1, 2, 3), (True,), (10**400,)]
)
def test_what_is_no_progress_is_refused_where_it_is_reported(arguments):
    with pytest.raises(InvalidArgument, match=r"(done|total) must be a number|note must"):
        make_job().report_progress(*arguments)


def test_a_made_job_keeps_its_report_in_memory():
    job = make_job()
    job.report_progress(1, 2, "n" * 5_000)
    assert job.progress == {"done": 1, "total": 2, "note": "n" * 1_000}
