"""Many jobs as one JSON text, the argument of ``jobs_enqueue_many``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgjobs.errors import InvalidArgument
from pgjobs.job.payload import MAX_BYTES, encode


@dataclass(frozen=True, slots=True)
class Batch:
    """How many jobs a call adds, and their text.

    ``text``: from what all jobs share (``as_item``) to the JSON text; "" if there are no jobs.
    """

    count: int
    text: Callable[[dict[str, Any]], str]


def batch_of(payloads: Iterable[object]) -> Batch:
    """A job for each payload, which may be a model, a dataclass or plain data."""
    # A middleware may look at them before they are sent.
    kept = payloads if isinstance(payloads, list | tuple) else [*several(payloads)]

    def text(item: dict[str, Any]) -> str:
        items = [{**item, "payload": payload} for payload in kept]
        return encode(items, "a payload") if items else ""

    return Batch(len(kept), text)


def batch_of_texts(texts: Sequence[str], own: Sequence[dict[str, Any]] | None = None) -> Batch:
    """A job for each payload, which is JSON text already; ``own``: what each job alone has."""

    def text(item: dict[str, Any]) -> str:
        if own is None:
            shared = encode(item, "an option")
            items = ",".join(with_payload(shared, payload) for payload in texts)
        else:
            items = ",".join(
                with_payload(encode(item | own_item, "an option"), payload)
                for own_item, payload in zip(own, texts, strict=True)
            )
        if (size := len(items.encode())) > MAX_BYTES:
            raise InvalidArgument(
                f"the payloads have {size:,} bytes, more than {MAX_BYTES:,}: enqueue fewer at once"
            )
        return f"[{items}]" if items else ""

    return Batch(len(texts), text)


def several(payloads: Iterable[object]) -> Iterable[object]:
    """Checks that these are the payloads of several jobs, and returns them."""
    if not isinstance(payloads, Iterable) or isinstance(payloads, str | bytes | Mapping):
        raise InvalidArgument(f"payloads must be a list, not {payloads!r:.100}")
    return payloads


def with_payload(item: str, payload: str) -> str:
    """The object of one job, as JSON text. ``item``: the object without its payload."""
    return f'{item[:-1]},"payload":{payload}}}'
