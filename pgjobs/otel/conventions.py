"""The names of OpenTelemetry's semantic conventions for messaging, version 1.44.

The conventions of messaging are not stable yet: where they change, only this file changes.
"""

SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
MESSAGE_ID = "messaging.message.id"
MESSAGE_COUNT = "messaging.batch.message_count"
CLIENT_ID = "messaging.client.id"
ERROR_TYPE = "error.type"

EXCEPTION = "exception"  # an event
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACKTRACE = "exception.stacktrace"

# Of pgjobs, where the conventions have no name.
JOB_TYPE = "pgjobs.job.type"
ATTEMPT = "pgjobs.job.attempt"
OUTCOME = "pgjobs.job.outcome"

PGJOBS = "pgjobs"  # the system
SEND = "send"  # name and type of an operation
PROCESS = "process"

OPERATION_DURATION = "messaging.client.operation.duration"
SENT_MESSAGES = "messaging.client.sent.messages"
CONSUMED_MESSAGES = "messaging.client.consumed.messages"
PROCESS_DURATION = "messaging.process.duration"

SECONDS = "s"
MESSAGES = "{message}"
# The conventions advise these bounds for durations.
DURATION_BOUNDS_S = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0
)


def span_name(operation: str, destination: str | None) -> str:
    """The name of a span; without a destination where its messages have several."""
    return operation if destination is None else f"{operation} {destination}"
