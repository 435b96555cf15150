"""Spans and metrics of what is sent and of what runs, as the SDK of OpenTelemetry has them."""

import asyncio
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode
from python import otel_in_children

from pgjobs import App, Cancel, Fail, InvalidArgument, Job, Retry, Snooze
from pgjobs.otel import instrument

HOUR = timedelta(hours=1)


class Telemetry:
    """What an SDK has kept in memory."""

    def __init__(self, sampler=None):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(sampler=sampler)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider(metric_readers=[self.reader])
        self.tracer = self.tracers.get_tracer("test")

    def spans(self, begins=""):
        found = self.exporter.get_finished_spans()
        return [span for span in found if span.name.startswith(begins)]

    def points(self, metric):
        data = self.reader.get_metrics_data()
        return [
            point for of_resource in data.resource_metrics for scope in of_resource.scope_metrics
            for one in scope.metrics if one.name == metric for point in one.data.data_points
        ]


@pytest.fixture
def telemetry(app):
    made = Telemetry()
    instrument(app, made.tracers, made.meters)
    return made


def context_of(span):
    return span.context.trace_id, span.context.span_id


async def test_a_prompt_first_attempt_is_a_child_of_its_senders_span(app, telemetry):
    @app.job("mail", queue="mails")
    async def mail(job: Job[None]):
        with telemetry.tracer.start_as_current_span("inside"):
            pass

    with telemetry.tracer.start_as_current_span("request") as request:
        job = await mail.enqueue()
    await app.worker(name="w").run(until_empty=True)
    [send], [process], [inside] = map(telemetry.spans, ("send", "process", "inside"))
    assert send.parent.trace_id == request.get_span_context().trace_id
    assert send.parent.span_id == request.get_span_context().span_id
    assert (process.parent.trace_id, process.parent.span_id) == context_of(send)
    assert inside.parent.span_id == process.context.span_id
    assert not process.links
    trace_id, span_id = context_of(send)
    assert job.headers.keys() == {"traceparent"}
    assert job.headers["traceparent"].startswith(f"00-{trace_id:032x}-{span_id:016x}-")

    assert (send.name, send.kind) == ("send mails", SpanKind.PRODUCER)
    assert (process.name, process.kind) == ("process mails", SpanKind.CONSUMER)
    shared = {
        "messaging.system": "pgjobs", "messaging.destination.name": "mails",
        "messaging.message.id": str(job.id), "pgjobs.job.type": "mail",
    }
    assert dict(send.attributes) == shared | {
        "messaging.operation.name": "send", "messaging.operation.type": "send",
    }
    assert dict(process.attributes) == shared | {
        "messaging.operation.name": "process", "messaging.operation.type": "process",
        "messaging.client.id": "w", "pgjobs.job.attempt": 1, "pgjobs.job.outcome": "completed",
    }
    assert (send.status.status_code, process.status.status_code) == (StatusCode.UNSET,) * 2


async def test_a_late_first_attempt_is_a_root_with_a_link(app, conn, telemetry):
    app.job("t")(lambda job: None)
    prompt, late = [await app.enqueue("t") for _ in range(2)]
    age = "update jobs set created_at = created_at - $2::interval where id = $1"
    await conn.execute(age, prompt.id, timedelta(seconds=40))
    await conn.execute(age, late.id, timedelta(seconds=61))
    await app.worker().run(until_empty=True)
    sends = {span.attributes["messaging.message.id"]: span for span in telemetry.spans("send")}
    runs = {span.attributes["messaging.message.id"]: span for span in telemetry.spans("process")}
    assert runs[str(prompt.id)].parent.span_id == sends[str(prompt.id)].context.span_id
    root = runs[str(late.id)]
    assert root.parent is None
    assert root.context.trace_id != sends[str(late.id)].context.trace_id
    [link] = root.links
    assert (link.context.trace_id, link.context.span_id) == context_of(sends[str(late.id)])


async def test_a_retry_is_a_root_with_a_link_and_a_snoozed_job_goes_on(app, telemetry):
    @app.job("t")
    async def handler(job: Job[str]):
        if job.attempt == 1:
            raise Retry(timedelta(0)) if job.payload == "retry" else Snooze(timedelta(0))

    await handler.enqueue("retry")
    await handler.enqueue("snooze")
    await app.worker().run(until_empty=True)
    retry, snooze = telemetry.spans("send")
    by_trace = {}
    for span in telemetry.spans("process"):
        by_trace.setdefault(span.context.trace_id, []).append(span)
    assert len(by_trace.pop(retry.context.trace_id)) == 1
    assert [span.attributes["pgjobs.job.outcome"] for span in by_trace.pop(snooze.context.trace_id)
            ] == ["released", "completed"]
    [[again]] = by_trace.values()
    assert again.parent is None
    assert [link.context.span_id for link in again.links] == [retry.context.span_id]
    assert again.attributes["pgjobs.job.attempt"] == 2


async def test_a_call_that_adds_many_jobs_is_one_span_whose_context_all_of_them_get(
    app, telemetry
):
    a = app.job("a", queue="q")(lambda job: None)
    b = app.job("b", queue="r")(lambda job: None)
    await a.enqueue_many(n for n in range(3))
    await app.enqueue_many([a.new(None), b.new(None)])
    await a.enqueue_many([1])
    await a.enqueue_many([])
    await app.worker().run(until_empty=True)
    one, mixed, lone = telemetry.spans("send")
    assert [span.name for span in (one, mixed, lone)] == ["send q", "send", "send q"]
    assert dict(mixed.attributes) == {
        "messaging.system": "pgjobs", "messaging.operation.name": "send",
        "messaging.operation.type": "send", "messaging.batch.message_count": 2,
    }
    assert one.attributes["messaging.batch.message_count"] == 3
    assert lone.attributes["messaging.batch.message_count"] == 1
    assert "messaging.message.id" not in one.attributes
    runs = [span.parent.span_id for span in telemetry.spans("process")]
    assert sorted(map(runs.count, {one.context.span_id, mixed.context.span_id})) == [2, 3]
    sent = {
        point.attributes.get("messaging.destination.name"): point.value
        for point in telemetry.points("messaging.client.sent.messages")
    }
    assert sent == {"q": 4, None: 2}


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_sync_calls_and_plain_functions_are_in_the_trace(app, telemetry, kind):
    @app.job("second")
    def second(job: Job[None]): ...

    if kind == "def":

        @app.job("first")
        def first(job: Job[None]):
            second.sync.enqueue()

    else:

        @app.job("first")
        async def first(job: Job[None]):
            await second.enqueue()

    await asyncio.to_thread(first.sync.enqueue)
    await app.worker().run(until_empty=True)
    # The second job may have run before the first one's span ends.
    sends, runs = (
        sorted(telemetry.spans(name), key=lambda span: span.attributes["pgjobs.job.type"])
        for name in ("send", "process")
    )
    assert [span.parent and span.parent.span_id for span in (sends[0], runs[0], sends[1], runs[1])
            ] == [None, *(span.context.span_id for span in (sends[0], runs[0], sends[1]))]
    assert len({span.context.trace_id for span in (*sends, *runs)}) == 1


async def test_a_function_in_a_child_process_runs_within_a_span_of_its_trace(pgjobs_dsn, tmp_path):
    otel_in_children.app.connect_to(pgjobs_dsn)
    out = tmp_path / "spans"
    async with otel_in_children.app as app:
        job = await otel_in_children.spans.enqueue(str(out))
        late = await otel_in_children.late.enqueue(str(out))
        await app.worker(grace=timedelta(0)).run(until_empty=True)
        traceparent = (await app.get(job.id)).result
        assert (await app.get(late.id)).status == "failed"
    _, trace_id, span_id, _ = job.headers["traceparent"].split("-")
    assert traceparent == f"{trace_id} {span_id}"
    ended = dict(line.split(" ", 1) for line in out.read_text().splitlines())
    assert ended == {"spans": "completed UNSET None", "late": "failed ERROR TimeoutError"}


async def test_a_child_process_knows_that_its_job_is_cancelled(pgjobs_dsn, tmp_path, eventually):
    otel_in_children.app.connect_to(pgjobs_dsn)
    out, begun = tmp_path / "spans", tmp_path / "spans.begun"
    async with otel_in_children.app as app:
        job = await otel_in_children.unwanted.enqueue(str(out))
        worker = app.worker()
        running = asyncio.create_task(worker.run())
        await eventually(begun.exists)
        await app.cancel(job.id)
        await eventually(out.exists)
        worker.stop()
        await running
        assert (await app.get(job.id)).status == "cancelled"
    assert out.read_text() == "unwanted cancelled UNSET None\n"


class OddError(Exception):
    def __str__(self):
        raise RuntimeError


ENDS = {
    # What the handler does: the outcome, error.type, and the status of the job.
    "return": ("completed", None, "completed"),
    "snooze": ("released", None, "pending"),
    "cancel": ("cancelled", None, "cancelled"),
    "retry": ("retried", None, "pending"),
    "last retry": ("failed", "Retry", "failed"),
    "fail": ("failed", "Fail", "failed"),
    "raise": ("retried", "ZeroDivisionError", "pending"),
    "last raise": ("failed", "ZeroDivisionError", "failed"),
    "odd": ("failed", f"{__name__}.OddError", "failed"),
    "exit": ("failed", "SystemExit", "failed"),
    "sleep": ("failed", "TimeoutError", "failed"),
    "cancel itself": ("failed", "asyncio.exceptions.CancelledError", "failed"),
    "commit and raise": ("committed", None, "completed"),
}


async def act(job):
    match job.payload.removeprefix("last "):
        case "snooze":
            raise Snooze(HOUR)
        case "cancel":
            raise Cancel("not wanted")
        case "retry":
            raise Retry(HOUR)
        case "fail":
            raise Fail("no")
        case "raise":
            1 / 0  # noqa: B018
        case "odd":
            raise OddError
        case "exit":
            raise SystemExit(3)
        case "sleep":
            await asyncio.sleep(60)
        case "cancel itself":
            raise asyncio.CancelledError
        case "commit and raise":
            async with job.transaction():
                pass
            raise ValueError


@pytest.mark.parametrize("what", ENDS)
async def test_only_what_fails_is_an_error_of_the_span(app, telemetry, what):
    outcome, error_type, status = ENDS[what]
    keeps = what in ("retry", "raise")
    timeout = timedelta(seconds=0.1) if what == "sleep" else None
    app.job("t", timeout=timeout, max_retries=int(keeps))(act)
    job = await app.enqueue("t", what)
    await app.worker().run(until_empty=True)
    assert (await app.get(job.id)).status == status
    [span] = telemetry.spans("process")
    assert span.attributes["pgjobs.job.outcome"] == outcome
    assert span.attributes.get("error.type") == error_type
    [point] = telemetry.points("messaging.process.duration")
    assert point.attributes.get("error.type") == error_type
    [point] = telemetry.points("messaging.client.consumed.messages")
    assert "error.type" not in point.attributes
    if error_type is None:
        assert span.status.status_code is StatusCode.UNSET
        assert not span.events
    else:
        assert span.status.status_code is StatusCode.ERROR
        [event] = span.events
        assert event.name == "exception"
        assert event.attributes["exception.type"] == error_type
        trace_text = event.attributes["exception.stacktrace"]
        assert "in act" in trace_text
        assert "pgjobs/" not in trace_text.replace("traces/tests", "")


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_a_run_that_the_worker_stops_has_no_error(
    app, telemetry, working, until_status, eventually, how
):
    begun = asyncio.Event()

    @app.job("t")
    async def handler(job: Job[None]):
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError from None

    job = await handler.enqueue()
    async with working(grace=timedelta(0)):
        await begun.wait()
        if how == "cancel":
            await app.cancel(job.id)
            await until_status(job.id, "cancelled")
    [span] = telemetry.spans("process")
    assert span.attributes["pgjobs.job.outcome"] == {"stop": "released", "cancel": "cancelled"}[how]
    assert span.status.status_code is StatusCode.UNSET


async def test_a_call_that_adds_no_job_is_an_error(app, conn, telemetry):
    app.job("t")(lambda job: None)
    with pytest.raises(InvalidArgument):
        await app.enqueue("t", priority=99)
    [span] = telemetry.spans("send")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "pgjobs.errors.InvalidArgument"
    [event] = span.events
    assert event.name == "exception"
    [point] = telemetry.points("messaging.client.sent.messages")
    assert point.attributes["error.type"] == "pgjobs.errors.InvalidArgument"


async def test_the_metrics_are_those_of_the_conventions(app, telemetry):
    app.job("t")(lambda job: None)
    for _ in range(2):
        await app.enqueue("t")
    await app.worker().run(until_empty=True)
    common = {
        "messaging.system": "pgjobs", "messaging.destination.name": "default",
        "pgjobs.job.type": "t",
    }
    for metric, operation in (
        (
            "messaging.client.operation.duration",
            {"messaging.operation.name": "send", "messaging.operation.type": "send"},
        ),
        ("messaging.process.duration", {"messaging.operation.name": "process"}),
    ):
        [point] = telemetry.points(metric)
        assert dict(point.attributes) == common | operation
        assert point.count == 2
        assert 0 < point.sum < 60
        assert point.explicit_bounds == (
            0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10
        )
    for metric in ("messaging.client.sent.messages", "messaging.client.consumed.messages"):
        assert [point.value for point in telemetry.points(metric)] == [2]


class Asked(Sampler):
    """Keeps what a sampler is asked about, and samples nothing of queue `quiet`."""

    def __init__(self):
        self.attributes = []

    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, *_):
        self.attributes.append(dict(attributes or {}))
        drop = (attributes or {}).get("messaging.destination.name") == "quiet"
        return SamplingResult(Decision.DROP if drop else Decision.RECORD_AND_SAMPLE)

    def get_description(self):
        return "asked"


async def test_a_sampler_is_told_the_attributes_and_its_answer_goes_with_the_job(app):
    sampler = Asked()
    telemetry = Telemetry(sampler)
    instrument(app, telemetry.tracers, telemetry.meters)
    app.job("t", queue="quiet")(lambda job: None)
    job = await app.enqueue("t")
    await app.enqueue_many("t", [1, 2])
    await app.worker().run(until_empty=True)
    assert int(job.headers["traceparent"][-2:], 16) % 2 == 0  # not sampled
    assert not telemetry.spans()
    send, many, process, *_ = sampler.attributes
    assert send["messaging.destination.name"] == many["messaging.destination.name"] == "quiet"
    assert many["messaging.batch.message_count"] == 2
    assert process.keys() >= {"messaging.message.id", "pgjobs.job.type", "pgjobs.job.attempt"}


BAD = [
    42, [1], {"a": 1}, None, True, "", "garbage", "00-0-0-00", "00-" + "0" * 32 + "-" + "0" * 16,
    "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
    "x" * 100_000, "\u2028", "00-é",
]
GOOD = f"00-{'1' * 32}-{'2' * 16}-01"


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
async def test_headers_that_are_no_context_end_no_run(app, conn, telemetry, bad):
    app.job("t")(lambda job: None)
    for headers in ({"traceparent": bad}, {"traceparent": GOOD, "tracestate": bad}):
        await conn.execute("select jobs_enqueue('t', headers => $1)", json.dumps(headers))
    await app.worker().run(until_empty=True)
    assert await conn.fetchval("select count(*) from jobs where status = 'completed'") == 2
    alone, with_state = sorted(telemetry.spans("process"), key=lambda s: s.parent is not None)
    assert alone.parent is None
    assert not alone.links
    assert with_state.parent.span_id == int("2" * 16, 16)


async def test_jobs_of_schedules_and_of_sql_are_roots_also_if_a_span_surrounds_the_worker(
    app, conn, telemetry
):
    app.job("t")(lambda job: None)
    await conn.execute("select jobs_enqueue('t')")
    await conn.execute("select jobs_schedule('s', 't', every => '1 hour')")
    await conn.execute("select jobs_schedule_run('s')")
    with telemetry.tracer.start_as_current_span("around the worker"):
        await app.worker().run(until_empty=True)
    runs = telemetry.spans("process")
    assert len(runs) == 2
    assert [(span.parent, *span.links) for span in runs] == [(None,), (None,)]


async def test_the_tracestate_goes_with_the_job(app, telemetry):
    app.job("t")(lambda job: None)
    sender = trace.SpanContext(
        int("1" * 32, 16), int("2" * 16, 16), is_remote=True, trace_flags=trace.TraceFlags(1),
        trace_state=trace.TraceState([("vendor", "x")]),
    )
    with trace.use_span(trace.NonRecordingSpan(sender)):
        job = await app.enqueue("t", headers={"mine": 1})
    assert job.headers["tracestate"] == "vendor=x"
    assert job.headers["mine"] == 1
    await app.worker().run(until_empty=True)
    [span] = telemetry.spans("process")
    assert span.context.trace_state == {"vendor": "x"}


async def test_a_batchs_callback_is_sent_by_a_span_too(app, telemetry):
    app.job("t")(lambda job: None)
    app.job("done")(lambda job: None)
    async with app.batch("done") as batch:
        await app.enqueue("t", batch=batch)
    await app.worker().run(until_empty=True)
    sends = {span.context.span_id: span for span in telemetry.spans("send")}
    assert len(sends) == 2
    parents = [sends[span.parent.span_id] for span in telemetry.spans("process")]
    assert [span.attributes["pgjobs.job.type"] for span in parents] == ["t", "done"]


def test_an_app_is_instrumented_once():
    app = App()
    instrument(app)
    with pytest.raises(InvalidArgument, match="instrumented already"):
        instrument(app)
    with pytest.raises(InvalidArgument, match="takes an app"):
        instrument(app.sync)


async def test_an_included_apps_jobs_have_the_spans_of_the_including_app(app, telemetry):
    other = App()
    task = other.job("t")(lambda job: None)
    app.include(other)
    await task.enqueue()
    await app.worker().run(until_empty=True)
    assert [span.name for span in telemetry.spans()] == ["send default", "process default"]
    instrumented = App()
    instrument(instrumented)
    with pytest.raises(InvalidArgument, match="give them to that app"):
        app.include(instrumented)


async def test_without_an_sdk_nothing_is_written_and_jobs_run(app):
    instrument(app)
    app.job("t")(lambda job: None)
    job = await app.enqueue("t")
    await app.worker().run(until_empty=True)
    assert job.headers == {}
    assert (await job.refresh()).status == "completed"


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_pgjobs_itself_loads_no_opentelemetry():
    assert run(
        "import sys, pgjobs, pgjobs.cli.commands, pgjobs.worker.worker;"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    ) == "[]"


def test_the_sdk_is_not_loaded():
    assert run(
        "import sys, pgjobs.otel; pgjobs.otel.instrument(pgjobs.App());"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    ) == "[]"


def test_without_the_package_the_error_names_the_extra():
    assert run(
        "import sys; sys.modules['opentelemetry'] = None\n"
        "try: import pgjobs.otel\nexcept ImportError as error: print(error)"
    ) == "pgjobs.otel needs opentelemetry-api: pip install 'pgjobs-queue[otel]'"


PROCESS = """
import asyncio, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
import pgjobs, pgjobs.otel

class ToFile(SpanExporter):
    def export(self, spans):
        with open(sys.argv[3], "a") as file:
            for s in spans:
                parent = s.parent and f"{s.parent.span_id:016x}"
                print(s.name, f"{s.context.trace_id:032x}", f"{s.context.span_id:016x}", parent,
                      file=file, sep=",")
        return SpanExportResult.SUCCESS

tracers = TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(ToFile()))
app = pgjobs.App(sys.argv[2])
pgjobs.otel.instrument(app, tracers)

@app.job("mail")
async def mail(job): pass

async def send():
    with tracers.get_tracer("web").start_as_current_span("request"):
        await mail.enqueue()
    await app.close()

asyncio.run(send() if sys.argv[1] == "send" else app.worker().run(until_empty=True))
"""


def test_a_trace_goes_on_in_the_workers_process(pgjobs_dsn, tmp_path):
    spans = {}
    for role in ("send", "work"):
        file = tmp_path / role
        run(PROCESS, role, pgjobs_dsn, str(file))
        for line in file.read_text().splitlines():
            name, *ids = line.split(",")
            spans[name] = ids
    request, send, process = (spans[n] for n in ("request", "send default", "process default"))
    assert request[0] == send[0] == process[0]
    assert (request[2], send[2], process[2]) == ("None", request[1], send[1])
