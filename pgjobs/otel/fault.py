"""An error on a span."""

from opentelemetry.trace import Span, Status, StatusCode

from pgjobs.handler.signals import Signal
from pgjobs.otel import conventions as name
from pgjobs.worker.description import class_name, describe, head, message


def error_type(error: BaseException) -> str:
    """The class of the error, as in ``error_kind`` of a job's attempts."""
    kind = class_name(type(error))
    return kind.rpartition(".")[2] if isinstance(error, Signal) else kind


def record(span: Span, error: BaseException, kind: str) -> None:
    """Gives the span the status ERROR, and the exception as an event.

    The text is the bounded one of ``job.error``: an exception of the user's may raise when it is
    asked for its text, and a chain of exceptions may take minutes to format.
    """
    span.set_attribute(name.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, head(error)))
    if span.is_recording():
        span.add_event(name.EXCEPTION, {
            name.EXCEPTION_TYPE: kind,
            name.EXCEPTION_MESSAGE: message(error)[:1_000],
            name.EXCEPTION_STACKTRACE: describe(error),
        })
