"""JobService: a loop of your own, inside your own transactions."""

import asyncio

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from pgjobs import JobService, JobType
from pgjobs.connection.dsn import resolve


async def with_asyncpg(dsn: str) -> None:
    """Create, start, complete: each step in a transaction of the caller."""
    connection = await asyncpg.connect(dsn or None)
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
    print(found.id == job.id, found.status, found.result)
    await connection.close()


async def with_sqlalchemy(dsn: str) -> None:
    """The same through a session; nothing is stored until the session commits."""
    engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://", 1))
    async with AsyncSession(engine) as session:
        service = JobService(session)
        job = await service.create("report", payload={"month": 5})
        await service.mark_processing(job.id)
        failed = await service.mark_failed(job.id, "no data yet")
        print(failed.status, failed.retry_count)
        await session.rollback()
    await engine.dispose()


async def main() -> None:
    """Both, one after the other."""
    dsn = resolve(None)
    await with_asyncpg(dsn)
    await with_sqlalchemy(dsn)


if __name__ == "__main__":
    asyncio.run(main())
