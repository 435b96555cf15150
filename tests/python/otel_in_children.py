"""Traces of functions in child processes, which import this module."""

import time
from datetime import timedelta
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from pgjobs import App, RunningJob
from pgjobs.otel import instrument


class ToFile(SpanProcessor):
    """Writes how each run has ended to the file that its payload names."""

    path = ""

    def on_end(self, span: ReadableSpan) -> None:
        attributes = span.attributes or {}
        if self.path:
            with Path(self.path).open("a") as file:
                print(
                    attributes["pgjobs.job.type"], attributes["pgjobs.job.outcome"],
                    span.status.status_code.name, attributes.get("error.type"), file=file,
                )


tracers = TracerProvider()
tracers.add_span_processor(to_file := ToFile())
app = App()
instrument(app, tracers)


@app.job("spans", run_in="process")
def spans(job: RunningJob[str]) -> str:
    to_file.path = job.payload
    span = trace.get_current_span()
    assert isinstance(span, ReadableSpan)
    assert span.parent is not None
    return f"{span.parent.trace_id:032x} {span.parent.span_id:016x}"


@app.job("late", run_in="process", timeout=timedelta(seconds=1), max_retries=0)
def late(job: RunningJob[str]) -> None:
    to_file.path = job.payload
    time.sleep(60)


@app.job("unwanted", run_in="process")
def unwanted(job: RunningJob[str]) -> None:
    to_file.path = job.payload
    Path(f"{job.payload}.begun").touch()
    time.sleep(60)
