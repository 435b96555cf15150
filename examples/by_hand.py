"""JobService: a loop of your own, inside your own transactions."""

import asyncio
import os

import asyncpg
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from pgjobs import JobService, JobType


async def with_asyncpg() -> None:
    """Create, start, complete: each step in a transaction of the caller."""
    connection = await asyncpg.connect(os.environ["PGJOBS_DSN"])
    async with connection.transaction():
        job = await JobService(connection).create(
            JobType.FILE_INGESTION, reference_id=42, reference_type="file_upload",
            payload={"file_path": "a.pdf"},
        )
    service = JobService(connection, worker="by-hand-1")
    await service.recover()  # jobs that this worker held when it last stopped
    for pending in await service.get_pending(JobType.FILE_INGESTION):
        async with connection.transaction():
            await service.mark_processing(pending.id)
            await service.mark_completed(pending.id, {"pages": 3})
    found = await service.get_by_reference("file_upload", 42)
    assert found is not None
    assert found.id == job.id
    print(f"asyncpg: job {job.id} is {found.status} with the result {found.result}")
    await connection.close()


async def with_sqlalchemy() -> None:
    """The same through a session; nothing is stored until the session commits."""
    url = make_url(os.environ["PGJOBS_DSN"]).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url)
    async with AsyncSession(engine) as session:
        service = JobService(session)
        job = await service.create("report", payload={"month": 5})
        await service.mark_processing(job.id)
        failed = await service.mark_failed(job.id, "no data yet")
        print(f"SQLAlchemy: the job that failed is {failed.status} for retry {failed.retry_count}")
        await session.rollback()
    await engine.dispose()


async def main() -> None:
    """Both, one after the other."""
    await with_asyncpg()
    await with_sqlalchemy()


if __name__ == "__main__":
    asyncio.run(main())
