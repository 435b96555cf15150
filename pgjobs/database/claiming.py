"""What a worker asks."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from ..models import Row
from .statements import CLAIM_COLUMNS, Moment, Statements, as_list, as_moment


class Claiming(Statements):
    """What a worker asks."""

    __slots__ = ()

    async def claim(
        self,
        worker: str,
        queues: Sequence[str] | None = None,
        max_jobs: int | None = None,
        lease: timedelta | None = None,
        job_types: Sequence[str] | None = None,
        floors: str | None = None,
    ) -> Sequence[Row]:
        """Takes due jobs for this worker: rows with the columns of ``CLAIM_COLUMNS``."""
        return await self._rows(
            f"""select {CLAIM_COLUMNS} from {{schema}}.jobs_claim(
            $1::text, $2::text[], $3::int, $4::interval, $5::text[], $6::text::jsonb)""",
            worker, queues, max_jobs, lease, job_types, floors,
        )  # fmt: skip

    async def next_due(
        self,
        queues: Sequence[str],
        job_types: Sequence[str] | None = None,
        since: Moment = None,
    ) -> datetime | None:
        """When the next job that a claim could take is due; None: none is waiting."""
        value: datetime | None = await self._value(
            """select {schema}.jobs_next_due($1::text[], $2::text[],
            coalesce($3::timestamptz, clock_timestamp() + $4::interval)) as value""",
            queues, job_types, *as_moment(since),
        )  # fmt: skip
        return value

    async def due_in(
        self, queues: Sequence[str], job_types: Sequence[str] | None = None
    ) -> timedelta | None:
        """How long until ``next_due``, by the database's clock; for one whose claim was empty."""
        value: timedelta | None = await self._value(
            """select {schema}.jobs_next_due($1::text[], $2::text[],
            clock_timestamp() - interval '20 seconds') - clock_timestamp() as value""",
            queues, job_types,
        )  # fmt: skip
        return value

    async def signal(
        self,
        queues: Sequence[str],
        job_types: Sequence[str] | None = None,
        hops: int = 3,
    ) -> None:
        """Tells the workers of these queues to look: one at once, the others soon."""
        await self._rows(
            "select {schema}._jobs_signal($1::text[], $2::text[], $3::int)", queues, job_types, hops
        )

    async def complete_many(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        results: Sequence[str | None],
        keep: bool = True,
    ) -> list[int]:
        """Completes what this worker still holds; the ids that really changed."""
        return await self._ids(
            """select jobs_complete_many as id from {schema}.jobs_complete_many(
            $1::text, $2::bigint[], $3::int[], $4::text[]::jsonb[], $5::boolean)""",
            worker, job_ids, attempts, results, keep,
        )  # fmt: skip

    async def fail_many(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        errors: Sequence[str],
        retries: Sequence[bool],
        retry_ins: Sequence[timedelta | None],
    ) -> list[int]:
        """Fails what this worker still holds; the ids that really changed."""
        return await self._ids(
            """select jobs_fail_many as id from {schema}.jobs_fail_many(
            $1::text, $2::bigint[], $3::int[], $4::text[], $5::boolean[], $6::interval[])""",
            worker, job_ids, attempts, errors, retries, retry_ins,
        )  # fmt: skip

    async def release_many(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        run_ats: Sequence[Moment] | None = None,
    ) -> list[int]:
        """Gives back what this worker still holds, no retry spent; the ids that changed."""
        moments = [as_moment(moment) for moment in as_list("run_ats", run_ats) or []]
        return await self._ids(
            """select jobs_release_many as id from {schema}.jobs_release_many(
            $1::text, $2::bigint[], $3::int[],
            (select array_agg(coalesce(u.at, clock_timestamp() + u.after) order by u.place)
             from unnest($4::timestamptz[], $5::interval[])
                 with ordinality u(at, after, place)))""",
            worker, job_ids, attempts, [at for at, _ in moments], [after for _, after in moments],
        )  # fmt: skip

    async def release_unknown(self, worker: str, known_ids: Sequence[int]) -> list[int]:
        """Gives back what this worker holds without knowing; the ids."""
        return await self._ids(
            """select _jobs_release_unknown as id
            from {schema}._jobs_release_unknown($1::text, $2::bigint[])""",
            worker, known_ids,
        )  # fmt: skip

    async def heartbeat(
        self, worker: str, job_ids: Sequence[int], attempts: Sequence[int], lease: timedelta
    ) -> list[str]:
        """Prolongs the lease; for each job, in order, ``held``, ``lost`` or ``cancel``."""
        rows = await self._rows(
            """select state from {schema}.jobs_heartbeat(
            $1::text, $2::bigint[], $3::int[], $4::interval)""",
            worker, job_ids, attempts, lease,
        )  # fmt: skip
        return [row["state"] for row in rows]

    async def channel(self, topic: str) -> str:
        """The name of a NOTIFY channel of this schema: topic ``jobs`` or ``jobs_cancel``."""
        value: str = await self._value("select {schema}.jobs_channel($1::text) as value", topic)
        return value

    async def worker_start(
        self,
        worker: str,
        queues: Sequence[str],
        job_types: Sequence[str] | None,
        concurrency: int,
        version: str | None = None,
    ) -> None:
        """Registers a worker on its LISTEN connection; ``WorkerNameTaken`` if one lives."""
        await self._rows(
            """select worker from {schema}.jobs_worker_start(
            $1::text, $2::text[], $3::text[], $4::int, $5::text)""",
            worker, queues, job_types, concurrency, version,
        )  # fmt: skip

    async def worker_stop(self, worker: str) -> None:
        """Takes a worker off the register."""
        await self._rows("select {schema}.jobs_worker_stop($1::text)", worker)

    async def worker_tick(self, worker: str) -> Row | None:
        """Its regular look: ``watch``, ``due_in``, ``peers``; None: it is not registered."""
        rows = await self._rows(
            "select watch, due_in, peers from {schema}._jobs_worker_tick($1::text)", worker
        )
        return rows[0] if rows else None

    async def worker_listen(self, worker: str) -> bool:
        """The worker will wait for NOTIFY; False: a producer counts on it, look again first."""
        value: bool = await self._value(
            "select {schema}._jobs_worker_listen($1::text) as value", worker
        )
        return value

    async def worker_poll(self, worker: str) -> None:
        """The worker looks by itself; producers need not notify it."""
        await self._rows("select {schema}._jobs_worker_poll($1::text)", worker)
