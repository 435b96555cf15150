"""The app of pgjobs: its handlers, and the request id that its jobs carry."""

import logging
from collections.abc import Generator
from contextlib import closing
from typing import Any

from django.db import connection
from pydantic import BaseModel

from examples.django_shop.models import Order
from examples.django_shop.tracing import request_id
from pgjobs import App, CallNext, EnqueueRequest, Job, RunningJob

log = logging.getLogger("shop")
app = App()


class Receipt(BaseModel):
    order: int


@app.enqueue_middleware
def write_request_id(enqueued: EnqueueRequest) -> Generator[None, list[Any], None]:
    """A job carries the id of the request that enqueues it."""
    enqueued.headers.setdefault("request_id", request_id.get())
    yield


@app.middleware
async def read_request_id(job: RunningJob[Any], call_next: CallNext) -> None:
    """What the handler logs has that id."""
    request_id.set(job.headers.get("request_id", "-"))
    await call_next(job)


@app.job("send_receipt")
def send_receipt(job: Job[Receipt]) -> str:
    """A real handler would send a mail."""
    # Django closes its connection at the end of a request. In a job, the handler has to.
    with closing(connection):
        order = Order.objects.get(id=job.payload.order)
    log.info("receipt of order %s sent", order.id)
    return f"receipt of order {order.id}"
