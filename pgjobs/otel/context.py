"""Which trace a job belongs to: W3C trace context in its headers."""

from datetime import timedelta
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pgjobs.app import RunningJob

# A run that begins later would stretch its sender's trace, so it begins a trace of its own.
PROMPT_WITHIN = timedelta(minutes=1)

MAX_HEADER_CHARACTERS = 4_096

_w3c = TraceContextTextMapPropagator()


def write_context(span: Span, headers: dict[str, Any]) -> None:
    """Writes a span's context into the headers of the jobs that the span sends."""
    for name in _w3c.fields:
        headers.pop(name, None)
    _w3c.inject(headers, set_span_in_context(span, Context()))


def parent_and_links(job: RunningJob[Any]) -> tuple[Context, list[Link]]:
    """The context that a run's span begins in, and its links.

    What is current here is no parent: that would be a span around the worker.
    """
    # Anybody may have written the headers by SQL.
    carrier = {
        name: value for name, value in job.headers.items()
        if name in _w3c.fields and isinstance(value, str) and len(value) <= MAX_HEADER_CHARACTERS
    }
    sender = get_current_span(_w3c.extract(carrier, Context())).get_span_context()
    if not sender.is_valid:
        return set_span_in_context(INVALID_SPAN), []
    # Not by the attempt, which also counts claims that were given back before the handler began.
    is_first = not job.retry_count and not job.crash_count
    # Both are moments by the database's clock.
    waited = None if job.started_at is None else job.started_at - job.created_at
    if is_first and waited is not None and waited <= PROMPT_WITHIN:
        return set_span_in_context(NonRecordingSpan(sender)), []
    return set_span_in_context(INVALID_SPAN), [Link(sender)]
