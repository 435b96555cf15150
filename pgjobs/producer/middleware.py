"""Middleware of enqueueing: plain generators, which async and sync calls run alike."""

import inspect
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

from pgjobs.errors import InvalidArgument, PgjobsError
from pgjobs.producer.arguments import headers_text


class EnqueueRequest:
    """One call that adds jobs, as a middleware sees it before the jobs are added.

    ``headers``: those of all jobs of the call; a middleware may add some, change or remove them.
    ``count``: how many jobs a call of ``enqueue_many`` adds; None: the call adds one job.
    """

    def __init__(
        self,
        given: dict[str, Any],
        payloads: Callable[[], list[Any]],
        count: int | None = None,
        *,
        others: Sequence[dict[str, Any]] = (),
    ) -> None:
        self._given = given
        self._payloads = payloads
        self._others = others  # the arguments of the further jobs, if each has its own
        self.count = count
        self.headers: dict[str, Any] = json.loads(given.get("headers", "{}"))

    @property
    def job_type(self) -> str:
        """The type of the jobs, or of the first one."""
        return self.job_types[0]

    @property
    def queue(self) -> str:
        """The queue of the jobs, or of the first one."""
        return self.queues[0]

    @property
    def job_types(self) -> list[str]:
        """The types of the jobs, each once."""
        return self._each("job_type")

    @property
    def queues(self) -> list[str]:
        """The queues of the jobs, each once."""
        return self._each("queue", "default")

    def _each(self, name: str, default: str = "") -> list[str]:
        given = (self._given, *self._others)
        return list(dict.fromkeys(str(one.get(name, default)) for one in given))

    @property
    def payloads(self) -> list[Any]:
        """The payload of each job, as plain JSON data: a copy."""
        return self._payloads()

    def arguments(self) -> dict[str, Any]:
        """The arguments of the jobs, with the headers as they are by now."""
        rest = {name: value for name, value in self._given.items() if name != "headers"}
        if not self.headers:
            return rest
        return rest | {"headers": headers_text(self.headers, of_middleware=True)}


# It is sent what the call returns, as a list: the job of `enqueue`, or the ids of `enqueue_many`.
EnqueueMiddleware = Callable[[EnqueueRequest], Generator[None, list[Any], object]]


def check_enqueue_middleware(middleware: Any) -> None:
    """Raises ``InvalidArgument`` for what cannot surround a call."""
    function = middleware
    if callable(middleware) and not inspect.isroutine(middleware):
        function = type(middleware).__call__
    if not inspect.isgeneratorfunction(function):
        raise InvalidArgument(
            "write an enqueue middleware as a plain generator: def middleware(request): ...;"
            f" jobs = yield; ..., not {middleware!r:.100}"
        )


@contextmanager
def surrounded(
    middlewares: Sequence[EnqueueMiddleware], request: EnqueueRequest
) -> Iterator[list[Any]]:
    """Runs the middlewares around the block, the first of them outermost.

    The block adds the jobs, and puts into the yielded list what the call returns. Its error is
    raised within each middleware, and stands, unless a middleware raises another one.
    """
    answer: list[Any] = []
    with ExitStack() as stack:
        for middleware in middlewares:
            stack.enter_context(_Surrounding(middleware, request, answer))
        yield answer


class _Surrounding:
    """One middleware around one call."""

    def __init__(
        self, middleware: EnqueueMiddleware, request: EnqueueRequest, answer: list[Any]
    ) -> None:
        self._middleware = middleware
        self._generator = middleware(request)
        self._answer = answer

    def __enter__(self) -> None:
        try:
            next(self._generator)
        except StopIteration:
            raise self._refused() from None

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._generator.send(self._answer)
            else:
                self._generator.throw(error)
        except StopIteration:
            return
        except BaseException as raised:
            if raised is error:
                return
            raise
        self._generator.close()
        raise self._refused()

    def _refused(self) -> PgjobsError:
        name = getattr(self._middleware, "__qualname__", self._middleware)
        return PgjobsError(f"the enqueue middleware {name} must yield exactly once")
