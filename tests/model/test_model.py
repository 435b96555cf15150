"""Calls the SQL functions and the model in random order, and compares the whole table each time."""

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from model.calls import connect
from model.machine import (
    DELAYS,
    FENCES,
    JSON,
    MINUTE,
    NEW,
    PLACES,
    QUEUES,
    TYPES,
    WORKERS,
    TableMachine,
)
from model.profile import bounded

LEASES = st.sampled_from([MINUTE, 60 * MINUTE])
SOME_TYPES = st.none() | st.lists(TYPES, max_size=3)
SOME_QUEUES = st.lists(QUEUES, min_size=1, max_size=4)
FINAL = st.lists(st.sampled_from(["completed", "failed", "cancelled"]), max_size=3)
MAX_JOBS = st.integers(0, 6)


class FunctionsAndModel(TableMachine):
    @initialize(news=st.lists(NEW, min_size=4, max_size=12))
    def begin(self, news):
        self.enqueue_many(news)

    @rule(new=NEW, delay=st.none() | DELAYS)
    def enqueue(self, new, delay):
        if delay is not None:
            new = {**new, "run_at": self.now() + delay}
        rows, now, state = self.call("jobs_enqueue", **new)
        self.expect(lambda: self.model.enqueue(rows[0]["id"], now, **new), rows, state)

    @rule(news=st.lists(NEW, max_size=8))
    def enqueue_many(self, news):
        jobs = [
            {**n, **({"backoff": n["backoff"] and [f"{d.total_seconds()} s" for d in n["backoff"]]}
                     if "backoff" in n else {}),
             **({"expires_at": n["expires_at"] and n["expires_at"].isoformat()}
                if "expires_at" in n else {})}
            for n in news
        ]
        ids, now = self.values("jobs_enqueue_many", jobs=jobs)
        made = [self.model.enqueue(i, now, **new) for i, new in zip(ids, news, strict=True)]
        self.model.jobs = dict(sorted(self.model.jobs.items()))
        assert ids == made
        self.agree()

    @rule(worker=WORKERS, queues=SOME_QUEUES, job_types=SOME_TYPES, max_jobs=MAX_JOBS, lease=LEASES)
    def claim(self, worker, queues, job_types, max_jobs, lease):
        asked = {"worker": worker, "queues": queues, "job_types": job_types, "max_jobs": max_jobs,
                 "lease": lease}
        rows, now, state = self.call("jobs_claim", **asked)
        self.expect(lambda: self.model.claim(**asked, now=now), rows, state)

    @rule(queues=SOME_QUEUES, job_types=SOME_TYPES)
    def next_due(self, queues, job_types):
        due, now = self.values("jobs_next_due", queues=queues, job_types=job_types)
        assert due == [self.model.next_due(queues, job_types, now.high)]

    @rule(place=PLACES, worker=WORKERS, lease=st.none() | LEASES)
    def start(self, place, worker, lease):
        asked = {"job_id": self.job_id(place, "pending"), "worker": worker, "lease": lease}
        rows, now, state = self.call("jobs_start", **asked)
        self.expect(lambda: self.model.start(**asked, now=now), rows, state)

    @rule(fence=FENCES, worker=st.none() | WORKERS, fenced=st.booleans(), result=JSON)
    def complete(self, fence, worker, fenced, result):
        for job_id, attempt in self.fences(fence[:1]):
            held = {"job_id": job_id, "worker": worker, "attempt": attempt if fenced else None}
            rows, now, state = self.call("jobs_complete", **held, result=result)

            def step(held=held, now=now):
                self.model.complete(self.model.held(**held), result, now)
                return held["job_id"]

            self.expect(step, rows, state)

    @rule(fence=FENCES, worker=st.none() | WORKERS, fenced=st.booleans(),
          retry=st.sampled_from([None, True, False]), retry_in=st.none() | DELAYS)
    def fail(self, fence, worker, fenced, retry, retry_in):
        for job_id, attempt in self.fences(fence[:1]):
            held = {"job_id": job_id, "worker": worker, "attempt": attempt if fenced else None}
            how = {"error": "e", "retry": retry, "retry_in": retry_in}
            rows, now, state = self.call("jobs_fail", **held, **how)

            def step(held=held, how=how, now=now):
                self.model.fail(self.model.held(**held), **how, now=now)
                return held["job_id"]

            self.expect(step, rows, state)

    def batch(self, function, worker, fences, **more):
        ids, now = self.values(
            function, worker=worker, job_ids=[i for i, _ in fences],
            attempts=[a for _, a in fences], **more,
        )
        held = self.model.fenced(worker, fences)
        assert sorted(ids) == sorted(held), "it returns the ids that passed the fence"
        return held, now

    @rule(worker=WORKERS, fences=FENCES, result=JSON, keep=st.sampled_from([None, True, False]))
    def complete_many(self, worker, fences, result, keep):
        fences = self.fences(fences)
        results = [[f, result] for f in fences]
        held, now = self.batch("jobs_complete_many", worker, fences, results=results, keep=keep)
        for job_id, places in held.items():
            self.model.complete(self.model.jobs[job_id], [list(fences[places[0]]), result], now)
            if keep is False:
                del self.model.jobs[job_id]
        self.agree()

    @rule(worker=WORKERS, fences=FENCES, data=st.data())
    def fail_many(self, worker, fences, data):
        # Equal fences would have different arguments, and which of them counts is open.
        fences = list(dict.fromkeys(self.fences(fences)))
        verdicts = [
            (f"e{place}", data.draw(st.sampled_from([None, True, False])),
             data.draw(st.none() | DELAYS)) for place in range(len(fences))
        ]
        errors, retries, retry_ins = map(list, zip(*verdicts, strict=True)) if fences else [[]] * 3
        held, now = self.batch("jobs_fail_many", worker, fences, errors=errors,
                               retries=retries, retry_ins=retry_ins)
        for job_id, (place,) in held.items():
            self.model.fail(self.model.jobs[job_id], *verdicts[place], now)
        self.agree()

    @rule(worker=WORKERS, fences=FENCES, data=st.data())
    def release_many(self, worker, fences, data):
        fences = list(dict.fromkeys(self.fences(fences)))
        snoozes = [data.draw(st.none() | DELAYS) for _ in fences]
        run_ats = [None if s is None else self.now() + s for s in snoozes]
        held, now = self.batch("jobs_release_many", worker, fences, run_ats=run_ats)
        for job_id, (place,) in held.items():
            self.model.release(self.model.jobs[job_id], run_ats[place], now)
        self.agree()

    @rule(worker=WORKERS, fences=FENCES, lease=LEASES)
    def heartbeat(self, worker, fences, lease):
        fences = self.fences(fences)
        rows, now, state = self.call(
            "jobs_heartbeat", worker=worker, lease=lease, job_ids=[i for i, _ in fences],
            attempts=[a for _, a in fences],
        )
        expected = self.model.heartbeat(worker, fences, lease, now)
        assert state is None
        assert [(row["job_id"], row["state"]) for row in rows] == expected
        self.agree()

    @rule(fence=FENCES, worker=st.none() | WORKERS, fenced=st.booleans(),
          reason=st.sampled_from([None, "because"]))
    def cancel(self, fence, worker, fenced, reason):
        for job_id, attempt in self.fences(fence[:1]):
            asked = {"job_id": job_id, "reason": reason, "worker": worker,
                     "attempt": attempt if fenced else None}
            rows, now, state = self.call("jobs_cancel", **asked)
            self.expect(lambda asked=asked, now=now: self.model.cancel(**asked, now=now),
                        rows, state)

    @rule(place=PLACES)
    def retry(self, place):
        job_id = self.job_id(place, "completed", "failed", "cancelled")
        rows, now, state = self.call("jobs_retry", job_id=job_id)
        self.expect(lambda: self.model.retry(job_id, now), rows, state)

    @rule(job_types=SOME_TYPES, queues=st.none() | SOME_QUEUES, since=st.none() | DELAYS,
          max_jobs=MAX_JOBS)
    def retry_many(self, job_types, queues, since, max_jobs):
        failed_since = None if since is None else self.now() - since
        count, now = self.values("jobs_retry_many", job_types=job_types, queues=queues,
                                 failed_since=failed_since, max_jobs=max_jobs)
        seen = {i for i, row in self.table().items() if row["status"] == "pending"}
        seen = {i for i in seen if self.model.jobs[i]["status"] == "failed"}
        expected = self.model.retry_many(job_types, queues, failed_since, max_jobs, now, seen)
        assert count == [expected]
        self.agree()

    @rule(worker=st.none() | WORKERS, sparing=st.none() | WORKERS)
    def recover(self, worker, sparing):
        if sparing is None:
            rows, now, state = self.call("jobs_recover", worker=worker)
        else:
            rows, now, state = self.call(
                "_jobs_recover", columns="(job).*", gone=[], worker=worker, sparing=sparing
            )
        rows.sort(key=lambda row: row["id"])
        self.expect(lambda: self.model.recover(worker, sparing, now), rows, state)

    @rule(older_than=DELAYS, max_jobs=MAX_JOBS, statuses=FINAL)
    def cleanup(self, older_than, statuses, max_jobs):
        count, now = self.values(
            "jobs_cleanup", older_than=older_than, statuses=statuses, max_jobs=max_jobs
        )
        expected, candidates = self.model.cleanup(older_than, statuses, max_jobs, now.high)
        assert count == [expected]
        gone = self.model.jobs.keys() - self.table().keys()
        ages = [(j["status"], j["finished_at"]) for j in candidates]
        assert (
            sorted(a for a, j in zip(ages, candidates, strict=True) if j["id"] in gone)
            == (ages[:expected])
        ), "the longest finished go first"
        for job_id in gone:
            del self.model.jobs[job_id]
        self.agree()

    @rule(queue=QUEUES)
    def pause(self, queue):
        self.values("jobs_pause", queue=queue)
        self.model.paused.add(queue)

    @rule(queue=QUEUES)
    def resume(self, queue):
        self.values("jobs_resume", queue=queue)
        self.model.paused.discard(queue)

    @rule(minutes=st.sampled_from([1, 1, 59, 60]))
    def time_passes(self, minutes):
        by = timedelta(minutes=minutes)
        moments = ("run_at", "lease_until", "finished_at")
        aged = ", ".join(f"{moment} = {moment} - %(by)s" for moment in moments)
        self.conn.execute(f"update jobs set {aged}", {"by": by})
        for job in self.model.jobs.values():
            job.update({m: job[m] and job[m] - by for m in moments})
        self.agree()

    @rule(worker=WORKERS, queues=SOME_QUEUES)
    def a_worker_is_lost_with_what_it_claims(self, worker, queues):
        self.claim(worker, queues, None, 6, MINUTE)
        self.recover(worker, None)

    @rule()
    def stats(self):
        rows = self.conn.execute("select queue, job_type, status, count from jobs_stats").fetchall()
        kinds = [(j["queue"], j["job_type"], j["status"]) for j in self.model.jobs.values()]
        assert {(r["queue"], r["job_type"], r["status"]): r["count"] for r in rows} == {
            kind: kinds.count(kind) for kind in kinds
        }


def test_the_functions_do_what_the_model_says(pgjobs_dsn):
    with connect(pgjobs_dsn) as FunctionsAndModel.conn:
        run_state_machine_as_test(FunctionsAndModel, settings=bounded(60, long=3000))
