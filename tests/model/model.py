"""The contract in plain Python: how each function changes the table, and what it returns.

A job is a dict with the columns of its row. The caller passes the time. Where the contract gives
only bounds (the clock moves on, retries have jitter) the model writes Between.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from model.between import Between

Row = dict[str, Any]
Fence = tuple[int, int]  # id and attempt

LIVE = ("pending", "processing")
FOREVER = datetime.max.replace(tzinfo=UTC)
HOUR = timedelta(hours=1)


class Refused(Exception):
    """The function raises an error with this SQLSTATE."""


class Model:
    """The jobs by id, and the paused queues."""

    def __init__(self) -> None:
        self.jobs: dict[int, Row] = {}
        self.paused: set[str] = set()

    # -- what a job is

    def holder(self, job_type: str, unique_key: str | None) -> Row | None:
        """The job that holds the key: a live one, or one whose scope is kept."""
        for job in self.jobs.values():
            same = (job["job_type"], job["unique_key"]) == (job_type, unique_key)
            if same and unique_key and (job["unique_scope"] == "kept" or job["status"] in LIVE):
                return job
        return None

    def get(self, job_id: int) -> Row:
        if job_id not in self.jobs:
            raise Refused("JQ001")
        return self.jobs[job_id]

    def held(self, job_id: int, worker: str | None, attempt: int | None) -> Row:
        job = self.get(job_id)
        if job["status"] != "processing":
            raise Refused("JQ002")
        if worker not in (None, job["worker"]) or attempt not in (None, job["attempt"]):
            raise Refused("JQ002")
        return job

    def fenced(self, worker: str, fences: list[Fence]) -> dict[int, list[int]]:
        """By id, the places in a batch that pass. Of an id that stands twice the later counts."""
        places: dict[int, list[int]] = {}
        for job_id in {i for i, _ in fences}:
            attempt = max(a for i, a in fences if i == job_id)
            job = self.jobs.get(job_id)
            holds = job and (job["status"], job["worker"], job["attempt"])
            if holds == ("processing", worker, attempt):
                places[job_id] = [p for p, f in enumerate(fences) if f == (job_id, attempt)]
        return places

    def _finish(self, job: Row, status: str, now: Between) -> None:
        finished_at = None if status == "pending" else now
        job.update(
            status=status, worker=None, lease_until=None, updated_at=now, finished_at=finished_at
        )

    # -- producers

    def enqueue(self, job_id: int, now: Between, **given: Any) -> int:
        """Returns ``job_id``, now the id of a new job, or the id of the job that holds the key."""
        holder = self.holder(given["job_type"], given.get("unique_key"))
        if holder:
            return int(holder["id"])
        self.jobs[job_id] = {
            "id": job_id, "queue": "default", "priority": 0, "payload": {}, "max_retries": 3,
            "reference_type": None, "reference_id": None, "unique_key": None,
            "unique_scope": "live", "backoff": None, "status": "pending", "result": None,
            "error": None, "retry_count": 0, "crash_count": 0, "attempt": 0, "worker": None,
            "lease_until": None, "cancel_requested_at": None, "finished_at": None,
            "reference_key": None, "group_key": None, "headers": None, "progress": None,
            "batch_id": None, "depends_on_left": None, "expires_at": None, "unique_until": None,
            "marks": None, "started_at": None,
            "run_at": now, "created_at": now, "updated_at": now, **given,
        }
        return job_id

    # -- workers

    @staticmethod
    def suspect(job: Row) -> bool:
        """A job that lost its worker twice, or max_retries times, may kill its worker."""
        return bool(0 < job["crash_count"] >= min(job["max_retries"], 2))

    def due(self, queue: str, job_types: list[str] | None, now: datetime) -> list[Row]:
        found = [
            job for job in self.jobs.values()
            if job["status"] == "pending" and job["queue"] == queue and job["run_at"] <= now
            and (job_types is None or job["job_type"] in job_types)
        ]
        return sorted(found, key=lambda j: (-j["priority"], j["run_at"], j["id"]))

    def claim(
        self, worker: str, queues: list[str], max_jobs: int, lease: timedelta,
        job_types: list[str] | None, now: Between,
    ) -> list[int]:
        claimed: list[Row] = []
        for queue in dict.fromkeys(queues):
            if len(claimed) == max_jobs:
                break
            held = [
                j for j in self.jobs.values()
                if j["status"] == "processing" and j["worker"] == worker
            ]
            crashed = [j for j in held + claimed if j["crash_count"]]
            due = [] if queue in self.paused else self.due(queue, job_types, now.high)
            # A suspect is held beside no other job that was lost, and comes first in its queue.
            chosen = [] if crashed else [j for j in due if self.suspect(j)][:1]
            beside = not chosen and not any(self.suspect(j) for j in crashed)
            chosen += [
                j for j in due if not j["crash_count"] or (beside and not self.suspect(j))
            ]
            claimed += chosen[: max_jobs - len(claimed)]
        for job in claimed:
            self._take(job, worker, lease, now)
        return [job["id"] for job in claimed]

    def start(self, job_id: int, worker: str, lease: timedelta | None, now: Between) -> int:
        job = self.get(job_id)
        if job["status"] != "pending":
            raise Refused("JQ002")
        self._take(job, worker, lease, now)
        return job_id

    @staticmethod
    def _take(job: Row, worker: str, lease: timedelta | None, now: Between) -> None:
        job.update(
            status="processing", worker=worker, attempt=job["attempt"] + 1, updated_at=now,
            started_at=now,
            lease_until=None if lease is None else now.later(lease),
        )

    def next_due(
        self, queues: list[str], job_types: list[str] | None, now: datetime
    ) -> datetime | None:
        """When a claim could take a job. A due job that was lost may wait for another's end."""
        waiting = [
            job["run_at"] for queue in queues if queue not in self.paused
            for job in self.due(queue, job_types, FOREVER)
            if not job["crash_count"] or job["run_at"] > now
        ]
        return min(waiting, default=None)

    def complete(self, job: Row, result: Any, now: Between) -> None:
        self._finish(job, "completed", now)
        job.update(result=result, error=None)

    def fail(
        self, job: Row, error: str, retry: bool | None, retry_in: timedelta | None, now: Between
    ) -> None:
        again = retry is not False and job["retry_count"] < job["max_retries"]
        stopped = job["cancel_requested_at"] is not None
        status = "cancelled" if stopped else "pending" if again else "failed"
        if status == "pending":
            job["retry_count"] += 1
            job["run_at"] = delayed(job, job["retry_count"], retry_in, now)
        self._finish(job, status, now)
        job["error"] = error

    def release(self, job: Row, run_at: datetime | None, now: Between) -> None:
        stopped = job["cancel_requested_at"] is not None
        self._finish(job, "cancelled" if stopped else "pending", now)
        job["run_at"] = run_at or job["run_at"]

    def heartbeat(
        self, worker: str, fences: list[Fence], lease: timedelta, now: Between
    ) -> list[tuple[int, str]]:
        held = self.fenced(worker, fences)
        for job_id in held:
            self.jobs[job_id]["lease_until"] = now.later(lease)
        answer = []
        for job_id, attempt in fences:
            job = self.jobs.get(job_id)
            state = "lost"
            if job and (job["worker"], job["attempt"]) == (worker, attempt):
                state = "held" if job["cancel_requested_at"] is None else "cancel"
            answer.append((job_id, state))
        return answer

    def recover(self, worker: str | None, sparing: str | None, now: Between) -> list[int]:
        recovered = []
        for job in self.jobs.values():
            over = job["lease_until"] is not None and job["lease_until"] < now.high
            named = worker is not None and job["worker"] == worker
            spared = sparing is not None and job["worker"] == sparing
            if job["status"] == "processing" and (over or named) and not spared:
                self._lose(job, now)
                recovered.append(job["id"])
        return recovered

    @staticmethod
    def _lose(job: Row, now: Between) -> None:
        stopped = job["cancel_requested_at"] is not None
        again = job["crash_count"] < min(max(job["max_retries"], 1), 3)
        status = "cancelled" if stopped else "pending" if again else "failed"
        if status == "failed":
            job["error"] = (
                f"its worker was lost {job['crash_count'] + 1} times, the last was {job['worker']}"
            )
        # At once after the first loss, with the backoff after later losses.
        if status == "pending" and job["crash_count"] > 0:
            job["run_at"] = delayed(job, job["crash_count"], None, now)
        job["crash_count"] += 1
        Model._finish(Model(), job, status, now)

    # -- operators

    def cancel(
        self, job_id: int, reason: str | None, worker: str | None, attempt: int | None, now: Between
    ) -> int:
        by_worker = worker is not None or attempt is not None
        job = self.held(job_id, worker, attempt) if by_worker else self.get(job_id)
        if job["status"] == "cancelled":
            return job_id
        if job["status"] not in LIVE:
            raise Refused("JQ002")
        if job["status"] == "pending" or by_worker:
            self._finish(job, "cancelled", now)
        else:
            job["cancel_requested_at"] = job["cancel_requested_at"] or now
            job["updated_at"] = now
        job["error"] = reason or job["error"]
        return job_id

    def retry(self, job_id: int, now: Between) -> int:
        job = self.get(job_id)
        if job["status"] in LIVE:
            raise Refused("JQ002")
        holder = self.holder(job["job_type"], job["unique_key"])
        if holder and holder is not job:
            raise Refused("JQ004")
        self._finish(job, "pending", now)
        job.update(
            retry_count=0, crash_count=0, run_at=now, result=None, error=None,
            cancel_requested_at=None, expires_at=None,
        )
        return job_id

    def retry_many(
        self, job_types: list[str] | None, queues: list[str] | None, since: datetime | None,
        max_jobs: int, now: Between, seen: set[int],
    ) -> int:
        """How many. Jobs that failed at the same moment go in any order: ``seen`` tells which."""

        def free(job: Row) -> bool:
            return self.holder(job["job_type"], job["unique_key"]) in (None, job)

        seen_keys = {(self.jobs[i]["job_type"], self.jobs[i]["unique_key"]) for i in seen}
        chosen = sorted(
            (
                job for job in self.jobs.values()
                if job["status"] == "failed"
                and (job_types is None or job["job_type"] in job_types)
                and (queues is None or job["queue"] in queues)
                and (since is None or job["finished_at"] >= since) and free(job)
            ),
            key=lambda j: (j["finished_at"], j["id"] not in seen,
                           (j["job_type"], j["unique_key"]) not in seen_keys),
        )
        count = 0
        for job in chosen[:max_jobs]:
            if free(job):  # the first of two jobs with one key holds the key now
                self.retry(job["id"], now)
                count += 1
        return count

    def cleanup(
        self, older_than: timedelta, statuses: list[str], max_jobs: int, now: datetime
    ) -> tuple[int, list[Row]]:
        """How many, and the candidates in the order of their deletion."""
        old = [
            job for job in self.jobs.values()
            if job["status"] in statuses and job["finished_at"] < now - older_than
        ]
        old.sort(key=lambda j: (j["status"], j["finished_at"]))
        return min(len(old), max_jobs), old


def delayed(job: Row, retry: int, retry_in: timedelta | None, now: Between) -> Between:
    """When retry 1, 2, … is due: by the list, or after 5 s to 1 h, with jitter."""
    if retry_in is not None:
        return now.later(retry_in)
    if job["backoff"] is not None:
        return now.later(job["backoff"][min(retry, len(job["backoff"])) - 1])
    base = timedelta(seconds=min(5 * 6 ** min(retry - 1, 4), 3600))
    return now.later(base * 0.75, base * 1.25)
