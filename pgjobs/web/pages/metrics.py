"""What ``pgjobs metrics`` gives, for Prometheus: behind the console's access."""

from http import HTTPStatus

from starlette.responses import PlainTextResponse, Response

from pgjobs.database import Database
from pgjobs.telemetry.exposition import CONTENT_TYPE, exposition
from pgjobs.telemetry.metrics import metrics as read_metrics
from pgjobs.web.page import Asked


async def metrics(asked: Asked) -> Response:
    """The metrics as text, and 503 if the database does not say them now."""

    async def question(database: Database) -> str:
        return exposition(await read_metrics(database))

    seen = await asked.look("metrics", question)
    # A monitor must not take old numbers for new ones.
    if seen.value is None or seen.trouble is not None:
        return PlainTextResponse(f"{seen.trouble}\n", HTTPStatus.SERVICE_UNAVAILABLE)
    return Response(seen.value, media_type=CONTENT_TYPE)
