"""``NewJob``: a job that is not enqueued yet, for a call that adds jobs of several types."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Self

from pgjobs.errors import InvalidArgument
from pgjobs.job.job import P
from pgjobs.producer.arguments import headers_text
from pgjobs.producer.batch import with_payload


@dataclass(frozen=True, slots=True)
class NewJob(Generic[P]):
    """What ``Task.new`` returns. ``ref``: its name within the call, for ``depends_on``."""

    arguments: dict[str, Any]
    text: str  # the payload, as JSON text
    ref: str | None = None

    @property
    def payload(self) -> Any:
        """The payload as plain JSON data."""
        return json.loads(self.text)

    def with_headers(self, headers: Mapping[str, Any]) -> Self:
        """The same job with further headers."""
        if not headers:
            return self
        own = json.loads(self.arguments.get("headers", "{}"))
        text = headers_text({**own, **headers}, of_middleware=True)
        return replace(self, arguments={**self.arguments, "headers": text})

    def item(self, arguments: dict[str, Any]) -> str:
        """The object of ``jobs_enqueue_many``, as JSON text."""
        own = arguments if self.ref is None else {**arguments, "ref": self.ref}
        return with_payload(json.dumps(own), self.text)


def new_jobs(given: object) -> Iterator[NewJob[Any]]:
    """Checks that these are new jobs, and returns them."""
    if not isinstance(given, Iterable):
        raise InvalidArgument(
            f"enqueue_many takes a job type and payloads, or a list of task.new(...), not {given!r}"
        )
    for place, job in enumerate(given):
        if not isinstance(job, NewJob):
            raise InvalidArgument(
                f"jobs[{place}] must be what task.new(payload) returns, not {job!r:.100}"
            )
        yield job
