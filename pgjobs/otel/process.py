"""The span and the metrics of a run."""

import time
from typing import Any

from opentelemetry.metrics import Meter
from opentelemetry.trace import Span, SpanKind, Tracer, use_span
from opentelemetry.util.types import AttributeValue

from pgjobs.app import CallNext, RunningJob
from pgjobs.handler.signals import Retry
from pgjobs.otel import conventions as name
from pgjobs.otel import fault
from pgjobs.otel.context import parent_and_links


class Process:
    """A middleware: one span for each run."""

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        self._tracer = tracer
        self._duration = meter.create_histogram(
            name.PROCESS_DURATION, name.SECONDS, "How long handlers run.",
            explicit_bucket_boundaries_advisory=name.DURATION_BOUNDS_S,
        )
        self._consumed = meter.create_counter(
            name.CONSUMED_MESSAGES, name.MESSAGES, "How many runs of jobs have begun."
        )

    async def __call__(self, job: RunningJob[Any], call_next: CallNext) -> None:
        measured: dict[str, AttributeValue] = {
            name.SYSTEM: name.PGJOBS, name.OPERATION_NAME: name.PROCESS,
            name.DESTINATION: job.queue, name.JOB_TYPE: job.job_type,
        }
        self._consumed.add(1, measured)
        parent, links = parent_and_links(job)
        # All attributes that a sampler may ask for are there at the start.
        span = self._tracer.start_span(
            name.span_name(name.PROCESS, job.queue), parent, SpanKind.CONSUMER, links=links,
            attributes=measured | {
                name.OPERATION_TYPE: name.PROCESS, name.MESSAGE_ID: str(job.id),
                name.ATTEMPT: job.attempt, name.CLIENT_ID: job.worker or "",
            },
        )
        began = time.perf_counter()
        ended_by: BaseException | None = None
        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                await call_next(job)
        except BaseException as error:
            ended_by = error
            raise
        finally:
            took_s = time.perf_counter() - began
            kind = _end(span, job, ended_by)
            # An SDK may keep the attributes that it is given, so they are not changed.
            faults = {} if kind is None else {name.ERROR_TYPE: kind}
            self._duration.record(took_s, {**measured, **faults})


def _end(span: Span, job: RunningJob[Any], error: BaseException | None) -> str | None:
    """Ends the span; returns the type of the error, if the run has one.

    `Snooze` and `Cancel` are answers of a handler that did its work, and so is `Retry` while the
    job is retried: no errors. A run that the worker stops has no fault of its own, unless its
    timeout is over.
    """
    outcome = job.outcome_of(error)
    span.set_attribute(name.OUTCOME, outcome)
    kind = None
    is_fault = outcome == "failed" or (outcome == "retried" and not isinstance(error, Retry))
    if error is not None and is_fault:
        if job.stopping and not isinstance(error, Exception):
            late = TimeoutError("still running after its timeout")
            error = late.with_traceback(error.__traceback__)
        kind = fault.error_type(error)
        fault.record(span, error, kind)
    span.end()
    return kind
