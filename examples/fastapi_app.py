"""Enqueue in a request's transaction: the upload and its job are both stored, or neither.

    uvicorn examples.fastapi_app:api          # the web process
    pgjobs worker examples.fastapi_app:app    # the worker process
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from pgjobs import App, Job, JobNotFound, JobType

app = App()


class IngestFile(BaseModel):
    file_path: str


@app.job(JobType.FILE_INGESTION)
async def ingest(job: Job[IngestFile]) -> dict[str, str]:
    """A real handler would read the file."""
    return {"ingested": job.payload.file_path}


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[None]:
    """One engine and one pgjobs app for the process."""
    address = make_url(app.dsn).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(address)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "create table if not exists uploads"
                " (id bigint generated always as identity primary key, path text not null)"
            )
        )
    async with app:
        api.state.engine = engine
        yield
    await engine.dispose()


api = FastAPI(lifespan=lifespan)


async def session() -> AsyncIterator[AsyncSession]:
    """A transaction per request: committed when the endpoint returns, else rolled back."""
    async with AsyncSession(api.state.engine) as opened, opened.begin():
        yield opened


# Without this scope FastAPI would send the answer first, and then commit: a client would be told
# of a job that no worker sees yet, or that does not exist because the COMMIT failed.
Session = Annotated[AsyncSession, Depends(session, scope="function")]


@api.post("/uploads", status_code=202)
async def upload(path: str, db: Session) -> dict[str, int]:
    """Stores the upload and enqueues its ingestion."""
    upload_id = await db.scalar(
        text("insert into uploads (path) values (:path) returning id"), {"path": path}
    )
    assert upload_id is not None
    job = await ingest.enqueue(
        IngestFile(file_path=path), reference=("file_upload", upload_id), conn=db
    )
    if path == "refused":
        raise ValueError("the request fails after enqueueing: neither row nor job remains")
    return {"upload": upload_id, "job": job.id}


@api.get("/jobs/{job_id}")
async def show(job_id: int, db: Session) -> dict[str, object]:
    """Returns the status, the result and the error of a job."""
    try:
        job = await app.get(job_id, conn=db)
    except JobNotFound as error:
        raise HTTPException(404, str(error)) from None
    return {"status": job.status, "result": job.result, "error": job.error}
