"""``job.history``: the attempts of a job that failed or were lost."""

from datetime import timedelta
from typing import Any

import pgjobs
from pgjobs import Backoff, Fail, Retry, RunningJob


class NoStock(Exception):
    pass


async def test_a_job_tells_its_failed_attempts_with_the_class_of_each_error(
    app, working
):
    @app.job("t", backoff=Backoff.fixed(timedelta(0)))
    async def handler(job: RunningJob[Any]) -> Any:
        match job.retry_count:
            case 0:
                raise NoStock("of apples")
            case 1:
                raise Retry(after=timedelta(0))
            case 2:
                raise KeyError("x")
        raise Fail("for good")

    job = await app.enqueue("t")
    async with working(name="w"):
        await app.wait([job])
    history = await job.history()
    assert [(a.attempt, a.outcome, a.worker) for a in history] == [
        (n, "failed", "w") for n in (1, 2, 3, 4)
    ]
    kinds = [a.error_kind for a in history]
    assert kinds[0] is not None
    assert kinds[0].endswith("test_history.NoStock")
    assert kinds[1:] == ["Retry", "KeyError", "Fail"]
    assert history[0].error is not None
    assert "of apples" in history[0].error
    assert all(a.started_at is not None and a.started_at <= a.ended_at for a in history)
    assert await app.history(job.id) == history


async def test_a_job_that_completed_at_once_has_no_history(app, working):
    @app.job("t")
    async def handler(job: RunningJob[Any]) -> Any: ...

    job = await app.enqueue("t")
    async with working():
        await job.wait()
    assert await job.history() == []
    assert pgjobs.Attempt.__doc__


async def test_the_class_of_an_error_in_a_child_process_is_known(pgjobs_dsn):
    from python import in_children

    in_children.app.connect_to(pgjobs_dsn)
    async with in_children.app as app:
        job = await app.enqueue("raise", "why", max_retries=0)
        await app.worker().run(until_empty=True)
        [attempt] = await job.history()
    assert (attempt.outcome, attempt.error_kind) == ("failed", "LookupError")
