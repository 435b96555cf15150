"""A shop of Flask, in sync code: an order and the job of its receipt are both stored, or neither.

    gunicorn --preload -w 2 -k gthread --threads 8 examples.flask_shop:web    # the web processes
    pgjobs worker examples.flask_shop:app                                     # the worker process

Each line of the logs has the id of the web request that caused it, also in the worker.
"""

import logging
from collections.abc import Generator
from contextvars import ContextVar
from datetime import timedelta
from typing import Any
from uuid import uuid4

from flask import Flask, Response, abort, request
from pydantic import BaseModel
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.orm import Session

from pgjobs import App, CallNext, EnqueueRequest, Job, RunningJob

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
    log.info("receipt of order %s sent", job.payload.order)
    return f"receipt of order {job.payload.order}"


# A connection that the server has closed, as its restart does, is noticed before its next use.
engine = create_engine(
    make_url(app.dsn).set(drivername="postgresql+psycopg"), pool_size=8, pool_pre_ping=True
)
with engine.begin() as made:
    made.execute(text(
        "create table if not exists orders"
        " (id bigint generated always as identity primary key, item text not null)"
    ))
# gunicorn --preload forks after this line, and no child may share this connection. The connections
# of pgjobs need no such line.
engine.dispose()

web = Flask(__name__)


@web.before_request
def begin() -> None:
    """Takes the id that the client or a proxy has given, or makes one."""
    request_id.set(request.headers.get("X-Request-Id") or uuid4().hex)


@web.after_request
def end(answer: Response) -> Response:
    log.info("%s %s: %s", request.method, request.path, answer.status_code)
    return answer


def charge(card: str) -> None:
    """A real shop would ask a bank."""
    if card == "refused":
        abort(403, "the card was refused")


@web.post("/orders")
def add_order() -> tuple[dict[str, int], int]:
    """Stores the order and enqueues its receipt; what raises afterwards undoes both."""
    with Session(engine) as session, session.begin():
        order_id = session.execute(
            text("insert into orders (item) values (:item) returning id"),
            {"item": request.form["item"]},
        ).scalar_one()
        job = send_receipt.sync.enqueue(
            Receipt(order=order_id), reference=("order", order_id), conn=session
        )
        charge(request.form["card"])
    return {"order": order_id, "job": job.id}, 202


@web.get("/jobs/<int:job_id>")
def show(job_id: int) -> dict[str, object]:
    """Tells the outcome of a job, and waits for it for a while."""
    [outcome] = app.sync.wait([job_id], timeout=timedelta(seconds=5))
    return {"status": outcome.status, "result": outcome.result, "error": outcome.error}
