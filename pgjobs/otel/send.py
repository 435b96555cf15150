"""The span and the metrics of a call that adds jobs."""

import time
from collections.abc import Generator
from typing import Any

from opentelemetry.metrics import Meter
from opentelemetry.trace import SpanKind, Tracer
from opentelemetry.util.types import AttributeValue

from pgjobs.otel import conventions as name
from pgjobs.otel import fault
from pgjobs.otel.context import write_context
from pgjobs.producer.middleware import EnqueueRequest


class Send:
    """An enqueue middleware: one span for a call, whose context all jobs of the call get."""

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        self._tracer = tracer
        self._duration = meter.create_histogram(
            name.OPERATION_DURATION, name.SECONDS, "How long calls that add jobs take.",
            explicit_bucket_boundaries_advisory=name.DURATION_BOUNDS_S,
        )
        self._sent = meter.create_counter(
            name.SENT_MESSAGES, name.MESSAGES, "How many jobs were to be added."
        )

    def __call__(self, request: EnqueueRequest) -> Generator[None, list[Any], None]:
        if request.count == 0:
            yield
            return
        measured, queue = _attributes(request)
        attributes = measured | {name.OPERATION_TYPE: name.SEND}
        if request.count is not None:
            attributes[name.MESSAGE_COUNT] = request.count
        began = time.perf_counter()
        # All attributes that a sampler may ask for are there at the start.
        with self._tracer.start_as_current_span(
            name.span_name(name.SEND, queue), kind=SpanKind.PRODUCER, attributes=attributes,
            record_exception=False, set_status_on_exception=False,
        ) as span:
            write_context(span, request.headers)
            try:
                jobs = yield
            except BaseException as error:
                kind = fault.error_type(error)
                fault.record(span, error, kind)
                measured[name.ERROR_TYPE] = kind
                raise
            finally:
                took_s = time.perf_counter() - began
                self._duration.record(took_s, {**measured, name.OPERATION_TYPE: name.SEND})
                self._sent.add(request.count or 1, measured)
            if request.count is None:
                span.set_attribute(name.MESSAGE_ID, str(jobs[0].id))


def _attributes(request: EnqueueRequest) -> tuple[dict[str, AttributeValue], str | None]:
    """The attributes that hold for all jobs of the call, and their queue, if it is one."""
    attributes: dict[str, AttributeValue] = {
        name.SYSTEM: name.PGJOBS, name.OPERATION_NAME: name.SEND,
    }
    queues, job_types = request.queues, request.job_types
    if len(queues) == 1:
        attributes[name.DESTINATION] = queues[0]
    if len(job_types) == 1:
        attributes[name.JOB_TYPE] = job_types[0]
    return attributes, queues[0] if len(queues) == 1 else None
