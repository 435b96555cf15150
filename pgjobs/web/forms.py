"""What a browser sends with a form."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request

from pgjobs.web.page import MAX_FORM_BYTES, Refused


async def form_of(
    request: Request, max_bytes: int = MAX_FORM_BYTES
) -> Mapping[str, Sequence[str]]:
    """The values of each field of a form."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the form is too large")
    except ClientDisconnect as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "the form did not come to its end") from error
    try:
        return parse_qs(body.decode(), keep_blank_values=True)
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "the form cannot be read") from error
