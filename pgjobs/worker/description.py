"""Describes any exception as text of bounded length that PostgreSQL can store."""

import traceback
from collections.abc import Iterator
from types import TracebackType

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_MAX_CHARACTERS = 8_000
_MAX_HEAD_CHARACTERS = 1_000
_MAX_FRAMES = 60  # per exception; of a deeper stack, the frames nearest to the error
_MAX_EXCEPTIONS = 8  # of a chain or a group; a chain of 50,000 takes minutes to format
_MAX_NOTES = 8
_PACKAGES_BEFORE_THE_HANDLER = ("pgjobs.worker", "pgjobs.handler", "pgjobs.otel")

_BY_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_BY_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


def describe(error: BaseException) -> str:
    """Type and message in the first line, for lists; then the traceback from the handler."""
    try:
        trace = "".join(reversed(list(_chain(error))))
    except BaseException as odd:  # noqa: BLE001 - attributes of an exception may raise anything
        trace = f"its traceback could not be formatted: {class_name(type(odd))}"
    first = head(error)
    return storable(first if trace.strip() == first.strip() else f"{first}\n\n{trace}".strip())


def head(error: BaseException, max_characters: int = _MAX_HEAD_CHARACTERS) -> str:
    """Type and message of an exception; its ``__str__`` may raise."""
    name, text = class_name(type(error)), message(error)
    return f"{name}: {text}"[:max_characters] if text else name


def class_name(kind: type) -> str:
    """The full name of a class; its metaclass may answer by raising."""
    try:
        name, module = kind.__qualname__, kind.__module__
        # A subclass of str could answer to any method in its own way.
        name = str.__str__(name)
        return name if module in ("builtins", "__main__") else f"{str.__str__(module)}.{name}"
    except BaseException:  # noqa: BLE001
        return "<a class that has no name>"


def message(error: BaseException) -> str:
    """What ``str(error)`` gives, or a text that says that it raised."""
    try:
        # A subclass of str could answer to any method in its own way.
        return str.__str__(str(error))
    except BaseException as odd:  # noqa: BLE001
        return f"<its __str__ raised {class_name(type(odd))}>"


def storable(text: str) -> str:
    """Text of bounded length that PostgreSQL can hold: no NUL, no lone surrogates."""
    if len(text) > _MAX_CHARACTERS:
        half = _MAX_CHARACTERS // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters ...\n{text[-half:]}"
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def one_line(text: str) -> str:
    """The first line of a text, of bounded length, for the log."""
    return printable(text.split("\n", 1)[0][:_MAX_HEAD_CHARACTERS])


def printable(text: str) -> str:
    """Text in which only the ends of lines act on a terminal; what else would is escaped."""
    if text.isprintable():
        return text
    return "".join(
        c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def exc_info(error: BaseException) -> ExcInfo | None:
    """What the log passes on of an exception; None: others may take minutes to read it."""
    try:
        unread, count = [error], 0
        while unread:
            one = unread.pop()
            count += 1
            if count > _MAX_EXCEPTIONS:
                return None
            unread += [e for e in (one.__cause__, one.__context__) if e is not None]
            unread += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        frames = _frames(error)
    except BaseException:  # noqa: BLE001 - attributes of an exception may raise anything
        return None
    return type(error), error, None if frames is None else _last(frames)


def _chain(error: BaseException) -> Iterator[str]:
    """The exceptions of a chain as text, the last one first, and what stands between them."""
    seen = {id(error)}
    current = error
    while True:
        yield _one(current, depth=0)
        cause, context = current.__cause__, current.__context__
        if cause is not None:
            between, before = _BY_CAUSE, cause
        elif context is not None and not current.__suppress_context__:
            between, before = _BY_CONTEXT, context
        else:
            return
        if id(before) in seen:
            return
        yield between
        if len(seen) == _MAX_EXCEPTIONS:
            yield "... earlier exceptions ...\n"
            return
        seen.add(id(before))
        current = before


def _one(error: BaseException, depth: int) -> str:
    """One exception: its frames, its head, its notes, and the exceptions of its group."""
    frames = _frames(error)
    lines = []
    if frames is not None:
        lines = ["Traceback (most recent call last):\n", *traceback.format_tb(_last(frames))]
    lines.append(f"{head(error, 2 * _MAX_CHARACTERS)}\n")
    notes = getattr(error, "__notes__", ())
    if isinstance(notes, list):
        lines += [f"{note}\n" for note in notes[:_MAX_NOTES] if isinstance(note, str)]
    if isinstance(error, BaseExceptionGroup) and depth < 2:
        for number, one in enumerate(error.exceptions[:_MAX_EXCEPTIONS], 1):
            inner = _one(one, depth + 1)[:_MAX_CHARACTERS]
            lines.append(f"  {number} of {len(error.exceptions)}:\n")
            lines += [f"    {line}\n" for line in inner.splitlines()]
    return "".join(lines)


def _frames(error: BaseException) -> TracebackType | None:
    """The traceback from the handler on."""
    frames = error.__traceback__
    while frames is not None and _package(frames) in _PACKAGES_BEFORE_THE_HANDLER:
        frames = frames.tb_next
    return frames


def _last(frames: TracebackType) -> TracebackType:
    """The part of a traceback with its last frames."""
    count, one = 0, frames
    while one.tb_next is not None:
        count, one = count + 1, one.tb_next
    for _ in range(count + 1 - _MAX_FRAMES):
        assert frames.tb_next is not None
        frames = frames.tb_next
    return frames


def _package(frames: TracebackType) -> object:
    return frames.tb_frame.f_globals.get("__package__")
