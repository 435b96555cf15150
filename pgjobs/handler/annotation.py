"""What a handler's signature says: whether it can be called, and the type of its payload."""

import functools
import inspect
import types
from collections.abc import Callable
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic.errors import PydanticUserError
from typing_extensions import is_typeddict  # also knows the one of typing_extensions

from pgjobs.errors import InvalidArgument
from pgjobs.job.job import Job

if TYPE_CHECKING:
    from pgjobs.job.fidelity import PayloadType

_WRITE_IT = "write it as: async def handler(job: Job[Payload])"


def check_handler(handler: Any) -> None:
    """Raises ``InvalidArgument`` for what no worker can call with a job."""
    innermost = handler
    while isinstance(innermost, functools.partial):
        innermost = innermost.func
    if not callable(innermost):
        raise InvalidArgument(f"a handler must be a function, not {handler!r:.100}: {_WRITE_IT}")
    if inspect.isclass(innermost):
        raise InvalidArgument(
            f"{_name(handler)} is a class, and a call would only make an object of it: pass a"
            " function, or an object of the class that has __call__(self, job)"
        )
    function = function_of(handler)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidArgument(
            f"{_name(handler)} holds a yield, so a call would run none of it: return the result"
            " instead, or enqueue a job for each part"
        )
    try:
        # A decorator's own parameters, not those of the function that it wraps: it may add some.
        signature = inspect.signature(handler, follow_wrapped=False)
    except ValueError:  # written in C, without a signature
        return
    try:
        signature.bind(object())
    except TypeError as error:
        raise InvalidArgument(_complaint(handler, signature, error)) from None


def _complaint(handler: Any, signature: inspect.Signature, error: TypeError) -> str:
    parameters = list(signature.parameters.values())
    if not parameters:
        return f"{_name(handler)} takes no argument: {_WRITE_IT}"
    if parameters[0].name in ("self", "cls"):
        return (
            f"{_name(handler)} is a method without its object: register it with an object, as in"
            f' app.job("type")(an_object.{getattr(handler, "__name__", "method")})'
        )
    return (
        f"{_name(handler)}{signature} cannot be called with a job alone ({error}): the job is the"
        " one positional argument, and every other parameter needs a default;"
        f" {_WRITE_IT}"
    )


def function_of(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The function behind a partial, a static method or an object that can be called."""
    while isinstance(handler, functools.partial | staticmethod):
        handler = handler.func if isinstance(handler, functools.partial) else handler.__func__
    if inspect.isroutine(handler):
        return handler
    found: Callable[..., Any] = type(handler).__call__
    return found


def payload_type(handler: Callable[..., Any]) -> "PayloadType | None":
    """``P`` of the ``Job[P]`` that the first argument is annotated with; None: plain JSON data."""
    try:
        parameters = list(inspect.signature(handler).parameters.values())
        hints = get_type_hints(function_of(handler), include_extras=True)
    except ValueError:  # written in C, without a signature
        return None
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise InvalidArgument(
            f"the annotations of {_name(handler)} cannot be read ({error}): "
            "define the payload's type at the top level of a module"
        ) from error
    hint = hints.get(parameters[0].name, Any) if parameters else Any
    # A decorator that shows the annotations of what it wraps may pass on something else.
    if not (hasattr(handler, "__wrapped__") or _may_be_a_job(hint)):
        raise InvalidArgument(
            f"{_name(handler)} is called with a job, and its argument {parameters[0].name} is"
            f" annotated with {_shown(hint)}: write Job[{_shown(hint)}], and read job.payload;"
            f" {_WRITE_IT}"
        )
    annotation = _payload_annotation(hint)
    if annotation is Any:
        return None
    # Here, since it loads pydantic's models.
    from pgjobs.job.fidelity import PayloadType

    try:
        return PayloadType(annotation)
    except (PydanticUserError, NameError, TypeError) as error:
        raise InvalidArgument(
            f"pydantic cannot read the payload's type of {_name(handler)}: {error}"
        ) from error


@functools.lru_cache
def result_type(handler: Callable[..., Any]) -> "PayloadType | None":
    """What the handler's annotation says that it returns; None: plain JSON data."""
    from pgjobs.job.fidelity import PayloadType

    try:
        annotation = get_type_hints(function_of(handler), include_extras=True).get("return", Any)
        if annotation is Any or _is_free(annotation):
            return None
        return PayloadType(annotation)
    except (PydanticUserError, NameError, AttributeError, SyntaxError, TypeError):
        # What a worker could write as JSON can always be read as JSON.
        return None


def _payload_annotation(hint: Any) -> Any:
    """``P`` of ``Job[P]``, also behind an alias, within ``Annotated`` or beside ``None``."""
    origin = get_origin(hint)
    if hasattr(origin, "__value__"):  # type JobOf[T] = Job[T], as JobOf[Mail]
        return _payload_annotation(origin.__value__[get_args(hint)])
    if hasattr(hint, "__value__"):  # type JobOfMail = Job[Mail]
        return _payload_annotation(hint.__value__)
    if origin is Annotated:
        return _payload_annotation(hint.__origin__)
    if origin in (Union, types.UnionType):
        found = (_payload_annotation(choice) for choice in get_args(hint))
        return next((annotation for annotation in found if annotation is not Any), Any)
    if inspect.isclass(origin) and issubclass(origin, Job):
        annotation = get_args(hint)[0]
        return Any if annotation is Any or _is_free(annotation) else annotation
    return Any


def _may_be_a_job(hint: Any) -> bool:
    """Whether a job may be what the hint stands for; True for what is not known here."""
    origin = get_origin(hint)
    if hasattr(hint, "__value__") or hasattr(origin, "__value__"):  # type JobOfMail = Job[Mail]
        return _may_be_a_job((hint if origin is None else origin).__value__)
    if hasattr(hint, "__supertype__"):  # NewType
        return _may_be_a_job(hint.__supertype__)
    if origin is Annotated:
        return _may_be_a_job(hint.__origin__)
    if origin in (Union, types.UnionType):
        return any(map(_may_be_a_job, get_args(hint)))
    kind = hint if origin is None else origin
    if kind is Any:
        return True
    if kind is Literal or is_typeddict(kind):
        return False
    if not inspect.isclass(kind) or getattr(kind, "_is_protocol", False):
        return True
    return kind in Job.__mro__ or issubclass(kind, Job)


def _shown(hint: Any) -> str:
    return hint.__name__ if type(hint) is type else str(hint)


def _is_free(annotation: Any) -> bool:
    is_variable = isinstance(annotation, TypeVar)
    return is_variable and annotation.__bound__ is None and not annotation.__constraints__


def _name(handler: Any) -> str:
    innermost = handler
    while isinstance(innermost, functools.partial):
        innermost = innermost.func
    return str(getattr(innermost, "__qualname__", None) or repr(handler)[:100])
