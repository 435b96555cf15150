"""What tests add to a database: single jobs, and all that a shop has in a bad night."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

ERROR = """ConnectionRefusedError: mail.example.com refused the connection after 3 attempts

Traceback (most recent call last):
  File "/srv/shop/mail.py", line 41, in send
    await smtp.send(letter)
  File "/srv/shop/smtp.py", line 12, in send
    raise ConnectionRefusedError(f"{host} refused the connection after {tried} attempts")
ConnectionRefusedError: mail.example.com refused the connection after 3 attempts"""
PAYLOAD = '{"order": 4711, "customer": "7", "items": [{"sku": "B-204", "count": 2}]}'
MINUTES_OF_HISTORY = 58
# Names that a careless page would run, cut, turn or hide.
HOSTILE = [
    "<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "a/b", "..", "%2e%2e",
    "a?b&c#d", "\u202eevil", "{{ 7 * 7 }}", "ä ö 日本", "\u200b",
]


async def add(
    conn: asyncpg.Connection, job_type: str = "mail", payload: str = "{}", **columns: object
) -> int:
    given = {"queue": "default", **columns}
    named = ", ".join(f"{name} => ${n}" for n, name in enumerate(given, 3))
    job_id: int = await conn.fetchval(
        f"select id from jobs_enqueue($1, $2::text::jsonb, {named})", job_type, payload,
        *given.values(),
    )
    return job_id


async def ended(conn: asyncpg.Connection, error: str | None = None, **columns: object) -> int:
    """A job that a worker has ended."""
    job_id = await add(conn, **{"max_retries": 0, "priority": 9, **columns})  # type: ignore[arg-type]
    attempt = await conn.fetchval(
        "select attempt from jobs_claim('w', array[$1]) where id = $2",
        columns.get("queue", "default"), job_id,
    )
    if error is None:
        await conn.execute("select jobs_complete($1, '{\"pages\": 3}', 'w', $2)", job_id, attempt)
    else:
        await conn.execute(
            "select jobs_fail($1, $2, worker => 'w', attempt => $3)", job_id, error, attempt
        )
    return job_id


async def later(conn: asyncpg.Connection, **columns: Any) -> int:
    """A job that is due tomorrow."""
    return await add(conn, run_at=datetime.now(UTC) + timedelta(days=1), **columns)


async def world(conn: asyncpg.Connection) -> list[tuple[Any, ...]]:
    """All that an action could change."""
    rows = await conn.fetch(
        "select id, status, run_at, payload, updated_at, cancel_requested_at from jobs order by id"
    )
    audited = await conn.fetchval("select count(*) from jobs_audit")
    return [*(tuple(row) for row in rows), (audited,)]


class Scene:
    """Adds to a database; each method returns the id of a job."""

    def __init__(self, conn: asyncpg.Connection) -> None:
        self._conn = conn

    async def add(self, job_type: str = "send_mail", payload: str = PAYLOAD, **columns: Any) -> int:
        return await add(self._conn, job_type, payload, **columns)

    async def claimed(self, job_id: int, worker: str = "shop-1") -> int:
        """Lets a worker claim the job, which has to be the first in its queue; its attempt."""
        await self._conn.execute(
            "update jobs set run_at = now() - interval '1 s' where id = $1", job_id
        )
        queue = await self._conn.fetchval("select queue from jobs where id = $1", job_id)
        attempt: int = await self._conn.fetchval(
            "select attempt from jobs_claim($1, array[$2]) where id = $3", worker, queue, job_id
        )
        return attempt

    async def running(self, **columns: Any) -> int:
        job_id = await self.add(priority=9, **columns)
        await self.claimed(job_id)
        return job_id

    async def completed(self, **columns: Any) -> int:
        job_id = await self.add(priority=9, **columns)
        attempt = await self.claimed(job_id)
        await self._conn.execute(
            "select jobs_complete($1, '{\"pages\": 3}', 'shop-1', $2)", job_id, attempt
        )
        return job_id

    async def failed(self, retries: int = 0, error: str = ERROR, **columns: Any) -> int:
        job_id = await self.add(max_retries=retries, priority=9, **columns)
        for _ in range(retries + 1):
            await self._fail(job_id, error)
        return job_id

    async def retrying(self, **columns: Any) -> int:
        job_id = await self.add(max_retries=5, priority=9, **columns)
        for _ in range(2):
            await self._fail(job_id, ERROR)
        return job_id

    async def _fail(self, job_id: int, error: str) -> None:
        attempt = await self.claimed(job_id)
        await self._conn.execute(
            "select jobs_fail($1, $2, retry_in => interval '20 min', worker => 'shop-1',"
            " attempt => $3)",
            job_id, error, attempt,
        )

    async def minutes(self) -> None:
        """The last hour, of which the last ten minutes were bad."""
        await self._conn.execute(
            """insert into jobs_history
            select interval '1 minute', date_trunc('minute', now()) - n * interval '1 minute',
                'default', 'send_mail', o.outcome, o.jobs, 0, '{}', 0, '{}'
            from generate_series(0, $1) n, lateral (values
                ('completed', case when n < 10 then 25 + n % 4 else 60 + (n * 7) % 23 end),
                ('retried', case when n < 10 then 30 - 2 * n else (n * 5) % 4 end),
                ('failed', case when n < 10 then 9 - n % 3 else 0 end)
            ) o (outcome, jobs) where o.jobs > 0
            on conflict do nothing""",
            MINUTES_OF_HISTORY,
        )


async def furnish(conn: asyncpg.Connection) -> dict[str, int]:
    """Adds all that a shop has in a bad night; returns the ids of a job of each kind."""
    scene = Scene(conn)
    about = {"reference_type": "order"}
    ids: dict[str, int] = {}
    for number in range(6):
        await scene.completed(job_type="make_invoice", reference_id=4700 + number, **about)
    ids["completed"] = await scene.completed(reference_id=4711, **about)
    for number in range(3):
        await scene.failed(retries=2, reference_id=4720 + number, **about)
    ids["failed"] = await scene.failed(retries=2, reference_id=4711, **about)
    ids["retrying"] = await scene.retrying(reference_id=4712, **about)
    ids["cancelled"] = await scene.add("send_mail", reference_id=4713, **about)
    await conn.execute("select jobs_cancel($1, reason => 'wrong address')", ids["cancelled"])
    ids["later"] = await scene.add("send_reminder", run_at=datetime.now(UTC) + timedelta(hours=5))
    ids["running"] = await scene.running(job_type="make_report", queue="reports")
    ids["due"] = await scene.add(reference_id=4714, **about)
    ids["parent"] = await scene.add(
        "charge_card", reference_id=4711, group_key="customer-7", **about
    )
    ids["blocked"] = await conn.fetchval(
        "select id from jobs_enqueue('ship_order', depends_on => array[$1::bigint])", ids["parent"]
    )
    await conn.execute(
        "select jobs_schedule('nightly', 'make_report', cron => '0 3 * * *', queue => 'reports')"
    )
    await conn.execute("select jobs_pause('imports', reason => 'the supplier sends nonsense')")
    await scene.minutes()
    return ids
