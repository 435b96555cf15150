"""From a text file to stored vectors, in four kinds of jobs.

Each step writes its own rows and enqueues the next step in one transaction with its completion: a
crash between two steps loses nothing and does nothing twice. The embedding is a hashed bag of
words, which is enough to show where a model would stand.
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
CHUNK = 600  # characters, at least: a chunk ends with a paragraph

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
    """The tables of the example; a real app would migrate them like its others."""
    pool = await app.pool()
    async with pool.acquire() as connection, connection.transaction():
        # `create table if not exists` is not safe for two workers that start together.
        await connection.execute("select pg_advisory_xact_lock(hashtext('pgjobs.demo'))")
        await connection.execute(TABLES)
    yield {"model": bag_of_words}


app = App(lifespan=lifespan)


@app.job(
    JobType.FILE_INGESTION, max_retries=2, backoff=Backoff.fixed(timedelta(milliseconds=500))
)
async def ingest(job: RunningJob[File]) -> None:
    """Reads a file and splits it; a file that cannot be read fails, and is tried again."""
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
    """Makes a vector of a chunk and hands it on."""
    async with job.transaction() as conn:
        content = await conn.fetchval(
            "select content from demo_chunks where id = $1", job.payload.chunk_id
        )
        vector = job.app.state.model(content)
        await store.enqueue(Embedded(chunk_id=job.payload.chunk_id, vector=vector), conn=conn)


@app.job(JobType.VECTOR_STORAGE)
async def store(job: RunningJob[Embedded]) -> None:
    """Stores a vector; the clean-up is enqueued once, however many ask for it."""
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
    """Deletes what was completed long ago; here, nothing is that old."""
    pool = await app.pool()
    deleted = await pool.fetchval(
        "select jobs_cleanup(make_interval(days => $1))", job.payload.days
    )
    return {"deleted": deleted}


def split(text: str) -> list[str]:
    """Paragraphs, joined until they are long enough to be worth a vector."""
    chunks: list[str] = []
    current = ""
    for paragraph in re.split(r"\n\s*\n", text):
        current = f"{current}\n\n{paragraph}".strip()
        if len(current) >= CHUNK:
            chunks.append(current)
            current = ""
    return [*chunks, current] if current else chunks


def bag_of_words(text: str) -> list[float]:
    """Counts of words, each in the place that its hash says; of length 1."""
    counts = [0.0] * DIMENSIONS
    for word in re.findall(r"\w+", text.lower()):
        counts[hashlib.blake2b(word.encode(), digest_size=2).digest()[0] % DIMENSIONS] += 1
    length = sum(count * count for count in counts) ** 0.5 or 1.0
    return [count / length for count in counts]
