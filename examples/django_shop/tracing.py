"""The request id: from the web request through the job to the handler's log."""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

from django.http import HttpRequest, HttpResponse

log = logging.getLogger("shop")
request_id = ContextVar("request_id", default="-")
make_record = logging.getLogRecordFactory()


def with_request_id(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """Gives each line of the log the request id; `pgjobs worker` prints it at the line's end."""
    record = make_record(*args, **kwargs)
    record.request_id = request_id.get()
    return record


logging.setLogRecordFactory(with_request_id)
logging.basicConfig(format="%(request_id)s %(message)s", level=logging.INFO)


def trace_requests(
    get_response: Callable[[HttpRequest], HttpResponse]
) -> Callable[[HttpRequest], HttpResponse]:
    """Takes the id that the client or a proxy has given, or makes one."""

    def respond(request: HttpRequest) -> HttpResponse:
        request_id.set(request.headers.get("X-Request-Id") or uuid4().hex)
        answer = get_response(request)
        log.info("%s %s: %s", request.method, request.path, answer.status_code)
        return answer

    return respond
