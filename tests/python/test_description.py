"""Any exception becomes text of bounded length, in bounded time."""

import time
from typing import Any

import pytest

from pgjobs.worker.description import describe, head, storable


def raised(error):
    try:
        raise error
    except Exception as caught:  # noqa: BLE001
        return caught


def chained(count, by="__cause__"):
    first = error = ValueError("the last one")
    for number in range(count):
        before = KeyError(f"number {number}")
        setattr(error, by, before)
        error = before
    return first


@pytest.mark.parametrize("by", ["__cause__", "__context__"])
def test_a_chain_of_fifty_thousand_exceptions_is_described_at_once(by):
    error = chained(50_000, by)
    began = time.process_time()
    text = describe(error)
    assert time.process_time() - began < 0.5
    assert text.startswith("ValueError: the last one\n\n... earlier exceptions ...\n")
    assert text.endswith("ValueError: the last one")
    assert "number 6" in text
    assert "number 7" not in text


def test_a_chain_that_is_a_circle_ends():
    error, other = ValueError("one"), ValueError("other")
    error.__cause__, other.__context__ = other, error
    assert describe(error).count("ValueError: one") == 2  # the first line, and the traceback


def test_a_suppressed_context_is_left_out():
    error = ValueError("one")
    error.__context__, error.__suppress_context__ = KeyError("hidden"), True
    assert "hidden" not in describe(error)


def test_a_deep_stack_is_cut_to_the_frames_nearest_to_the_error():
    def deeper(level):
        if not level:
            raise LookupError("at the bottom")
        deeper(level - 1)

    try:
        deeper(500)
    except LookupError as caught:
        text = describe(caught)
    assert "in test_a_deep_stack" not in text
    assert text.endswith("LookupError: at the bottom")


def test_a_group_shows_its_exceptions_and_notes():
    error = ExceptionGroup("two", [raised(ValueError("one")), LookupError("other")])
    error.add_note("a note")
    text = describe(error)
    assert text.startswith("ExceptionGroup: two (2 sub-exceptions)")
    for part in ("a note", "1 of 2:", "ValueError: one", "2 of 2:", "LookupError: other"):
        assert part in text


def test_a_large_group_within_groups_is_bounded():
    error: BaseException = ValueError("x" * 100_000)
    for _ in range(1_000):
        error = BaseExceptionGroup("group", [error] * 100)
    began = time.process_time()
    assert len(describe(error)) < 10_000
    assert time.process_time() - began < 0.5


class Odd(Exception):
    """Each of its attributes that a formatter may read raises, or lies."""

    def __init__(self, how):
        self.how = how

    def __str__(self):
        raise self.how("no text")

    __repr__ = __str__

    @property
    def __notes__(self):
        raise self.how("no notes")


@pytest.mark.parametrize("how", [ValueError, KeyboardInterrupt, SystemExit, RecursionError])
def test_an_exception_whose_str_raises_is_described_by_its_type(how):
    text = describe(raised(Odd(how)))
    assert text.startswith(f"{__name__}.Odd: <its __str__ raised {how.__name__}>")


def test_text_of_a_subclass_of_str_is_bounded_too():
    class Long(str):
        def __getitem__(self, key):
            return self

        def __format__(self, spec):
            return self * 1_000

    class Speaks(Exception):
        def __str__(self):
            return Long("x" * 1_000)

    assert len(describe(Speaks())) < 10_000


class NamelessClass(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__qualname__", "__name__", "__module__"):
            raise SystemExit(name)
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=NamelessClass):
    pass


def test_an_exception_whose_class_does_not_tell_its_name_is_described():
    assert head(Nameless("text")) == "<a class that has no name>: text"
    assert describe(Nameless("text")).startswith("<a class that has no name>: text")


def test_every_text_of_an_error_is_bounded():
    assert len(storable("x" * 1_000_000)) < 10_000
