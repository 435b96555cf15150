"""What a handler's signature says: whether it can be called, and what its payload is."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, Optional, Protocol, TypeVar

import pytest
from pydantic import AfterValidator, Base64Bytes, BaseModel, Field, PositiveInt, ValidationError
from typing_extensions import TypeAliasType, TypedDict

from pgjobs import App, InvalidArgument, Job, RunningJob

if TYPE_CHECKING:
    from nowhere import Hidden  # type: ignore[import-not-found]

T = TypeVar("T")
Above = TypeVar("Above", bound=PositiveInt)
Plain = Job[PositiveInt]
Listed = RunningJob[list[T]]
Named = TypeAliasType("Named", Job[PositiveInt])
NamedOf = TypeAliasType("NamedOf", Job[T], type_params=(T,))
NamedPayload = TypeAliasType("NamedPayload", Annotated[int, Field(gt=0)])


class Ingest(BaseModel):
    path: str


class Lenient(BaseModel):
    path: str = "a"


class Labelled(Protocol):
    job_type: str


def task(handler: Any) -> Any:
    return App().job("t")(handler)


def annotated(annotation: Any) -> Any:
    async def handler(job):
        pass

    handler.__annotations__["job"] = annotation
    return task(handler)


@pytest.mark.parametrize(
    "annotation",
    [
        Job[PositiveInt], RunningJob[PositiveInt], "Job[PositiveInt]", Job["PositiveInt"], Plain,
        Annotated[Job[PositiveInt], "about it"], "Annotated[RunningJob[PositiveInt], 1] | None",
        Job[PositiveInt] | None, Optional[RunningJob[PositiveInt]],  # noqa: UP045
        Annotated[Job[PositiveInt] | None, 1], Named, NamedOf[PositiveInt], Job[NamedPayload],
        Job[Annotated[PositiveInt, "more"]], Job[Above], Job[Annotated[int | None, Field(gt=0)]],
    ],
    ids=str,
)
def test_constraints_of_the_annotation_hold(annotation):
    made = annotated(annotation)
    assert made.decode("5") == 5
    with pytest.raises(ValidationError, match="greater than 0"):
        made.decode("-5")
    with pytest.raises(InvalidArgument, match="greater than 0"):
        made.encode(-5)


def test_validators_of_the_annotation_run():
    assert annotated(Job[Annotated[str, AfterValidator(str.strip)]]).decode('"  a "') == "a"
    assert annotated(Job[Base64Bytes]).decode('"aGk="') == b"hi"
    with pytest.raises(ValidationError, match=r"0\n.*greater than 0"):
        annotated(Listed[PositiveInt]).decode("[-5]")


@pytest.mark.parametrize(
    "annotation", [Job, Job[Any], Job[T], Any, Job | None, object, Labelled, T, "Any"]
)
def test_without_a_payload_type_the_payload_is_plain_json(annotation):
    assert annotated(annotation).decode('{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize(
    ("annotation", "advice"),
    [
        (int, r"annotated with int: write Job\[int\], and read job.payload"), (Ingest, "Ingest"),
        (list[int], r"list\[int\]"), (dict[str, int], "dict"), (None, "NoneType"),
        (Ingest | None, "Ingest"), (Annotated[int, Field(gt=0)], "int"),
        (NamedPayload, "NamedPayload"),
        (NewType("Path", str), "Path"), (Literal["a"], "Literal"), ("Ingest", "Ingest"),
        (TypedDict("Options", {"a": int}), "Options"),
    ],
    ids=str,
)
def test_a_payload_in_place_of_a_job_is_refused(annotation, advice):
    with pytest.raises(InvalidArgument, match=f"handler is called with a job, and.*{advice}"):
        annotated(annotation)


def test_a_decorator_may_pass_something_else_than_a_job():
    async def of_path(path: str) -> str:
        return path

    @functools.wraps(of_path)
    async def wrapper(job: Job[Ingest]) -> str:
        return await of_path(job.payload.path)

    task(wrapper)


@pytest.mark.parametrize(
    ("annotation", "left_out", "of_null"),
    [
        (Job[None], None, None), (Job[int | None], None, None), (Job[list[int] | None], None, None),
        (Job[Ingest | None], None, None), (Job[Annotated[int | None, Field(gt=0)]], None, None),
        (Job[dict[str, int] | None], {}, None), (Job[Any], {}, None),
        (Job[Lenient | None], Lenient(), None),
    ],
    ids=str,
)
def test_a_payload_that_is_left_out_is_none_where_the_type_reads_null_but_no_empty_mapping(
    annotation, left_out, of_null
):
    made = annotated(annotation)
    assert made.encode({}) == "{}"
    assert (made.decode("{}"), made.decode("null")) == (left_out, of_null)
    assert made.encode(None) == "null"


@pytest.mark.parametrize("annotation", [Job[Ingest], Job[int], Job[list[int]]], ids=str)
def test_a_payload_that_is_left_out_is_refused_where_the_type_reads_neither(annotation):
    with pytest.raises(ValidationError):
        annotated(annotation).decode("{}")
    with pytest.raises(InvalidArgument, match="the payload is not valid"):
        annotated(annotation).encode({})


def test_what_surrounds_a_function_keeps_the_type_of_its_payload():
    async def handler(job: Job[PositiveInt], more: int = 0) -> None: ...

    @functools.wraps(handler)
    async def wrapper(*args: Any, **options: Any) -> None:
        await handler(*args, **options)

    class Handler:
        async def __call__(self, job: Job[PositiveInt]) -> None: ...

    for kind in (functools.partial(handler, more=1), wrapper, Handler(), Handler().__call__):
        with pytest.raises(ValidationError):
            task(kind).decode("-5")


def test_an_annotation_that_pydantic_cannot_read_is_refused_at_once():
    class Odd:
        pass

    async def odd(job: Job[Odd]) -> None: ...
    async def hidden(job: "Job[Hidden]") -> None: ...
    async def wrong(job: "Job[1 +]") -> None: ...  # noqa: F722
    async def missing(job: "Job[functools.Missing]") -> None: ...

    for handler in (odd, hidden, wrong, missing):
        with pytest.raises(InvalidArgument, match=handler.__qualname__):
            task(handler)


class Handlers:
    async def method(self, job: Job[Ingest]) -> None: ...

    async def alone(self) -> None: ...

    @staticmethod
    async def static(job: Job[Ingest]) -> None: ...

    @classmethod
    async def of_class(cls, job: Job[Ingest]) -> None: ...


class Yielding:
    async def __call__(self, job: Job[Ingest]) -> Any:
        yield 1


async def nothing() -> None: ...
async def by_name(*, job: Job[Any]) -> None: ...
async def more(job: Job[Any], db: int) -> None: ...
async def more_by_name(job: Job[Any], *, db: int) -> None: ...
async def with_defaults(job: Job[Any], db: int = 1, *, x: int = 2, **rest: Any) -> None: ...
async def any_number(*jobs: Any) -> None: ...


def yielding(job: Job[Any]) -> Any:
    yield 1


async def yielding_later(job: Job[Any]) -> Any:
    yield 1


@pytest.mark.parametrize(
    ("handler", "advice"),
    [
        (nothing, "nothing takes no argument: write it as"),
        (Handlers().alone, "alone takes no argument: write it as"),
        (lambda: None, "takes no argument"),
        (by_name, r"by_name\(\*, job.* cannot be called with a job alone"),
        (more, "missing a required argument: 'db'.*every other parameter needs a default"),
        (more_by_name, "missing a required argument: 'db'.*needs a default"),
        (functools.partial(more, job=1), "cannot be called with a job alone"),
        (Handlers.method, r"Handlers.method is a method without its object.*an_object.method"),
        (Handlers.__dict__["of_class"], "a handler must be a function"),
        (yielding, "yielding holds a yield.*return the result instead"),
        (yielding_later, "yielding_later holds a yield"),
        (functools.partial(yielding), "yielding holds a yield"),
        (Yielding(), "holds a yield"),
        (Handlers, "Handlers is a class.*pass a function"),
        (functools.partial(Handlers), "Handlers is a class"),
        (int, "int is a class"),
        (5, "a handler must be a function, not 5: write it as"),
        (None, "a handler must be a function"),
        ("handler", "a handler must be a function"),
        ({}, "a handler must be a function"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else type(value).__name__,
)
def test_what_no_worker_can_call_is_refused_at_once(handler, advice):
    app = App()
    with pytest.raises(InvalidArgument, match=advice):
        app.job("t")(handler)
    assert app.tasks == {}


def test_a_method_that_is_registered_within_its_class_is_refused():
    with pytest.raises(InvalidArgument, match=r"Mailer.send is a method without its object"):

        class Mailer:
            @App().job("t")
            async def send(self, job: Job[Ingest]) -> None: ...


def injecting(function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    async def wrapper(job: Any) -> Any:
        return await function(job, db=1)

    return wrapper


@pytest.mark.parametrize(
    "handler",
    [
        with_defaults, any_number, functools.partial(more, db=1), Handlers().method,
        functools.partial(functools.partial(more), db=1), Handlers.static, Handlers.of_class,
        Handlers.__dict__["static"], injecting(more), lambda job: None, print,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_can_be_called_with_a_job_is_registered(handler):
    task(handler)


def test_a_static_method_is_run_as_the_coroutine_function_that_it_is():
    assert task(Handlers.__dict__["static"]).is_async
