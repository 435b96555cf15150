import copy
import dataclasses
import enum
import json
import math
import pickle
import unittest.mock
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pgjobs import Backoff, Fail, InvalidArgument, Job, JobStatus, JobType, Retry, Snooze
from pgjobs.job.payload import encode

SECOND = timedelta(seconds=1)
json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def row(**columns):
    known = {"id": 1, "status": "pending", "attempt": 0, "updated_at": None, "job_type": "t"}
    return {**known, "payload": "{}", "result": None, **columns}


def test_a_job_has_the_columns_of_its_row_as_fields():
    job = Job.from_row(row(payload='{"a": 1}', result="[2]", queue="q", reference_id=2**62))
    assert (job.id, job.queue, job.payload, job.result) == (1, "q", {"a": 1}, [2])
    assert job.reference_id == 2**62


def test_a_job_is_frozen():
    job = Job.from_row(row())
    for field in ("id", "status", "payload", "new"):
        with pytest.raises(AttributeError):
            setattr(job, field, 1)


def test_a_known_status_is_an_enum_and_an_unknown_one_a_string():
    assert Job.from_row(row(status="failed")).status is JobStatus.FAILED
    assert Job.from_row(row(status="parked")).status == "parked"


def test_two_reads_of_the_same_state_are_equal():
    assert Job.from_row(row()) == Job.from_row(row())
    assert Job.from_row(row()) != Job.from_row(row(attempt=1))
    assert len({Job.from_row(row()), Job.from_row(row())}) == 1


def test_statuses_and_types_are_the_strings_of_the_contract():
    assert [str(s) for s in JobStatus] == [
        "pending", "processing", "completed", "failed", "cancelled", "blocked"
    ]
    assert [str(t) for t in JobType] == [
        "file_ingestion", "embedding_generation", "vector_storage", "cleanup"
    ]


def test_a_fixed_backoff_is_one_delay_and_a_listed_one_all_of_them():
    assert Backoff.fixed(SECOND).delays == (SECOND,)
    assert Backoff.listed(SECOND, 2 * SECOND).delays == (SECOND, 2 * SECOND)


def test_an_exponential_backoff_ends_at_its_maximum():
    delays = Backoff.exponential(SECOND, factor=3, maximum=20 * SECOND).delays
    assert delays == (SECOND, 3 * SECOND, 9 * SECOND, 20 * SECOND)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Backoff(()),
        lambda: Backoff.fixed(-SECOND),
        lambda: Backoff.fixed(5),
        lambda: Backoff.exponential(SECOND, factor=1),
        lambda: Backoff.exponential(timedelta(0)),
        lambda: Backoff.exponential(timedelta(microseconds=1), factor=1.0000001),
    ],
)
def test_an_invalid_backoff_is_refused(make):
    with pytest.raises(InvalidArgument):
        make()


def test_models_dataclasses_and_plain_data_become_json():
    class Model(BaseModel):
        at: datetime

    @dataclasses.dataclass
    class Data:
        of: uuid.UUID

    class Colour(enum.Enum):
        RED = "red"

    at, of = datetime(2030, 1, 1, tzinfo=UTC), uuid.UUID(int=1)
    assert json.loads(encode(Model(at=at), "it")) == {"at": "2030-01-01T00:00:00Z"}
    assert json.loads(encode(Data(of=of), "it")) == {"of": str(of)}
    assert json.loads(encode([Colour.RED, Decimal("1.5"), {1}], "it")) == ["red", "1.5", [1]]


@pytest.mark.parametrize(
    "value",
    [
        object(), math.nan, [math.inf], {"a": -math.inf}, "\x00", {"a\x00": 1}, "\ud800",
        {"\udfff": 1}, len, b"\xff",
    ],
    ids=lambda value: repr(value).split(" at ")[0],
)
def test_a_value_that_jsonb_cannot_hold_is_refused_by_name(value):
    with pytest.raises(InvalidArgument, match="the payload is not JSON that can be stored"):
        encode(value, "the payload")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "\\u0000", {"NaN": ["-Infinity"]}])
def test_strings_that_look_like_refused_values_are_kept(value):
    assert json.loads(encode(value, "it")) == value


def test_a_value_larger_than_a_message_to_the_server_is_refused(monkeypatch):
    monkeypatch.setattr("pgjobs.job.payload.MAX_BYTES", 10)
    assert encode("x" * 8, "it") == '"xxxxxxxx"'
    with pytest.raises(InvalidArgument, match="it has 11 bytes, more than 10"):
        encode("x" * 9, "it")


def test_data_that_contains_itself_or_is_nested_too_deeply_is_refused():
    loop: list[object] = []
    loop.append(loop)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (loop, deep):
        with pytest.raises(InvalidArgument):
            encode(value, "it")


@given(json_data)
def test_any_json_comes_back_as_it_was_or_is_refused(value):
    try:
        text = encode(value, "it")
    except InvalidArgument:
        # Hypothesis draws no lone surrogates by default, but NUL, NaN and infinities.
        assert any(sign in repr(value) for sign in ("\\x00", "nan", "inf"))
    else:
        assert json.loads(text) == value


def test_a_copied_or_unpickled_job_decodes_its_payload():
    job = Job.from_row({"id": 1, "payload": '{"n": 1}'})
    assert copy.deepcopy(job).payload == {"n": 1}


def test_a_job_compared_with_another_type_leaves_the_answer_to_that_type():
    assert Job.from_row({"id": 1}) == unittest.mock.ANY


@pytest.mark.parametrize("ending", [Retry(SECOND, "later"), Retry(), Snooze(SECOND), Fail("no")])
def test_what_a_handler_raises_can_be_pickled(ending):
    copied = pickle.loads(pickle.dumps(ending))
    assert (type(copied), str(copied)) == (type(ending), str(ending))
    assert getattr(copied, "after", None) == getattr(ending, "after", None)


def test_headers_that_are_no_object_read_as_none_at_all():
    # A plain INSERT may hold any JSON.
    assert Job.from_row({"id": 1, "headers": "[1]"}).headers == {}
    assert Job.from_row({"id": 1, "headers": '{"a": 1}'}).headers == {"a": 1}
