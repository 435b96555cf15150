"""Turns text files into stored vectors, by jobs of four types.

Each step writes its rows, enqueues the next step and completes its job in one transaction: a crash
loses no step and repeats none. The embedding is a hashed bag of words in place of a real model.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pgjobs import App, Backoff, Job, JobType, RunningJob

DIMENSIONS = 64
# A chunk ends with the paragraph that brings it to this length.
MIN_CHUNK_CHARACTERS = 600

TABLES = """
create table if not exists demo_chunks (
    id bigint generated always as identity primary key,
    file text not null,
    place int not null,
    content text not null,
    unique (file, place)
);
create table if not exists demo_vectors (
    chunk_id bigint primary key references demo_chunks,
    vector real[] not null
);
"""


class File(BaseModel):
    file_path: str


class Chunk(BaseModel):
    chunk_id: int


class Embedded(BaseModel):
    chunk_id: int
    vector: list[float]


class Retention(BaseModel):
    days: int = 7


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[dict[str, Any]]:
    """Creates the tables of the demo; a real app would create them in its migrations."""
    pool = await app.pool()
    async with pool.acquire() as connection, connection.transaction():
        # `create table if not exists` can fail when two workers run it at the same time.
        await connection.execute("select pg_advisory_xact_lock(hashtext('pgjobs.demo'))")
        await connection.execute(TABLES)
    yield {"model": bag_of_words}


app = App(lifespan=lifespan)


@app.job(
    JobType.FILE_INGESTION, max_retries=2, backoff=Backoff.fixed(timedelta(milliseconds=500))
)
async def ingest(job: RunningJob[File]) -> None:
    """Reads a file and splits it into chunks; an unreadable file fails the job, which retries."""
    path = Path(job.payload.file_path)
    chunks = split(await asyncio.to_thread(path.read_text, encoding="utf-8"))
    async with job.transaction(result={"chunks": len(chunks)}) as conn:
        rows = await conn.fetch(
            """insert into demo_chunks (file, place, content)
            select $1, c.place, c.content from unnest($2::text[]) with ordinality c(content, place)
            returning id""",
            str(path), chunks,
        )
        await embed.enqueue_many([Chunk(chunk_id=row["id"]) for row in rows], conn=conn)


@app.job(JobType.EMBEDDING_GENERATION)
async def embed(job: RunningJob[Chunk]) -> None:
    """Computes the vector of a chunk and enqueues its storage."""
    async with job.transaction() as conn:
        content = await conn.fetchval(
            "select content from demo_chunks where id = $1", job.payload.chunk_id
        )
        vector = job.app.state.model(content)
        await store.enqueue(Embedded(chunk_id=job.payload.chunk_id, vector=vector), conn=conn)


@app.job(JobType.VECTOR_STORAGE)
async def store(job: RunningJob[Embedded]) -> None:
    """Stores a vector and enqueues one clean-up: the unique key prevents a second one."""
    async with job.transaction() as conn:
        await conn.execute(
            "insert into demo_vectors (chunk_id, vector) values ($1, $2)",
            job.payload.chunk_id, job.payload.vector,
        )
        await cleanup.enqueue(
            Retention(), unique_key="demo", delay=timedelta(seconds=1), conn=conn
        )


@app.job(JobType.CLEANUP)
async def cleanup(job: Job[Retention]) -> dict[str, int]:
    """Deletes jobs that were completed long ago; in the demo, no job is old enough."""
    pool = await app.pool()
    deleted = await pool.fetchval(
        "select jobs_cleanup(make_interval(days => $1))", job.payload.days
    )
    return {"deleted": deleted}


def split(text: str) -> list[str]:
    """Joins paragraphs to chunks that are long enough for a vector."""
    chunks: list[str] = []
    current = ""
    for paragraph in re.split(r"\n\s*\n", text):
        current = f"{current}\n\n{paragraph}".strip()
        if len(current) >= MIN_CHUNK_CHARACTERS:
            chunks.append(current)
            current = ""
    return [*chunks, current] if current else chunks


def bag_of_words(text: str) -> list[float]:
    """Counts the words at the index of their hash, and scales the vector to length 1."""
    counts = [0.0] * DIMENSIONS
    for word in re.findall(r"\w+", text.lower()):
        counts[hashlib.blake2b(word.encode(), digest_size=2).digest()[0] % DIMENSIONS] += 1
    length = sum(count * count for count in counts) ** 0.5 or 1.0
    return [count / length for count in counts]
