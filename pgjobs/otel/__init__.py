"""Traces and metrics by OpenTelemetry: spans of what is sent and of what runs.

    pgjobs.otel.instrument(app)

The trace goes on from whoever enqueues a job to its handler, by the headers `traceparent` and
`tracestate` of the job. Without an SDK, which the program brings, nothing is recorded.
"""

from typing import Any

try:
    from opentelemetry.metrics import MeterProvider, get_meter
    from opentelemetry.trace import TracerProvider, get_tracer
except ImportError as error:
    raise ImportError(
        "pgjobs.otel needs opentelemetry-api: pip install 'pgjobs-queue[otel]'"
    ) from error

from pgjobs.app import App
from pgjobs.errors import InvalidArgument
from pgjobs.otel.context import PROMPT_WITHIN
from pgjobs.otel.process import Process
from pgjobs.otel.send import Send

__all__ = ["PROMPT_WITHIN", "instrument"]

_NAME = "pgjobs"


def instrument(
    app: App[Any],
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Adds a middleware and an enqueue middleware to the app, which make spans and metrics.

    Call it where the app is made: the middlewares that are registered later run within the spans.
    Without a provider, the global one is used, which may also be set later. Raises
    ``InvalidArgument`` if the app is instrumented already.
    """
    if not isinstance(app, App):
        raise InvalidArgument(f"instrument takes an app, not {app!r:.100}")
    if any(isinstance(middleware, Process) for middleware in app.middlewares):
        raise InvalidArgument(
            "the app is instrumented already, and each job would have two spans: call"
            " pgjobs.otel.instrument(app) once, where the app is made"
        )
    tracer = get_tracer(_NAME, app.version, tracer_provider)
    meter = get_meter(_NAME, app.version, meter_provider)
    app.enqueue_middleware(Send(tracer, meter))
    app.middleware(Process(tracer, meter))
