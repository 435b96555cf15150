"""One app takes over what the app of another module has declared."""

from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from pgjobs import App, InvalidArgument, Job

DAY = timedelta(days=1)


@pytest.fixture
def mails():
    """The app of another module."""
    other = App("postgresql:///nowhere")

    @other.schedule(every=DAY)
    @other.job("mail", queue="mails")
    async def mail(job: Job[str]) -> str:
        return f"{other.state.greeting} {job.app.state.greeting} {job.payload}"

    other.limit("mails", max_running=3)
    other.retain("completed", DAY, job_type="mail")
    return other


@pytest.fixture
def app(pgjobs_dsn):
    @asynccontextmanager
    async def lifespan(app):
        yield {"greeting": "hello"}

    return App(pgjobs_dsn, lifespan=lifespan)


async def test_a_worker_of_the_app_runs_the_jobs_of_the_included_one(app, mails):
    seen = []
    app.include(mails)

    @app.middleware
    async def around(job, call_next):
        seen.append(job.job_type)
        await call_next(job)

    async with app:
        # By the task of the other module, in the database of this app.
        job = await mails.tasks["mail"].enqueue("you")
        assert (await app.enqueue("mail", "me")).queue == "mails"
        await app.worker().run(until_empty=True)
        assert (await job.refresh()).result == "hello hello you"
        assert app.tasks["mail"].sync.enqueue("us").queue == "mails"
        app.sync.close()
    assert set(seen) == {"mail"}


def test_schedules_limits_and_retention_are_declared_by_the_including_app(app, mails):
    app.include(mails)
    assert [*app.schedules] == ["mail"]
    assert [*app.limits] == ["mails"]
    assert [*app.retention] == ["completed of mail"]


def test_an_app_that_includes_others_may_be_included(app, mails):
    middle = App()
    middle.job("other")(lambda job: None)
    middle.include(mails)
    app.include(middle)
    assert [*app.tasks] == ["other", "mail"]
    assert {task.app for task in app.tasks.values()} == {app}


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (lambda app: app.job("mail")(lambda job: None), "handler of type mail"),
        (
            lambda app: app.schedule(every=DAY, name="mail")(app.job("x")(lambda job: None)),
            "schedule mail",
        ),
        (lambda app: app.limit("mails", max_running=1), "limit of queue mails"),
        (lambda app: app.retain("completed", DAY, job_type="mail"), "retention of completed of"),
    ],
)
def test_what_both_apps_have_is_named_and_nothing_is_taken(app, mails, declare, told):
    declare(app)
    before = [*app.tasks], [*app.schedules], [*app.limits], [*app.retention]
    with pytest.raises(InvalidArgument, match=f"both apps have a {told}"):
        app.include(mails)
    assert before == ([*app.tasks], [*app.schedules], [*app.limits], [*app.retention])
    assert mails.tasks["mail"].app is mails


def test_what_would_be_lost_is_refused(app, mails):
    for other in app, None, 5:
        with pytest.raises(InvalidArgument, match="include takes another app"):
            app.include(other)
    with pytest.raises(InvalidArgument, match="a lifespan or a middleware"):
        mails.include(app)

    @mails.enqueue_middleware
    def around(request):
        yield

    with pytest.raises(InvalidArgument, match="a lifespan or a middleware"):
        app.include(mails)
