"""What goes in is what comes out, or it is refused when it is enqueued or returned."""

import dataclasses
import enum
import functools
import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest
from pydantic import (
    AfterValidator,
    AnyUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    Json,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    SecretBytes,
    SecretStr,
    SerializeAsAny,
    TypeAdapter,
    computed_field,
    field_serializer,
    model_serializer,
)

from pgjobs import InvalidArgument, Job, JobService, RunningJob
from pgjobs.job.certainty import is_certain
from pgjobs.job.payload import encode

T = TypeVar("T")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
REPEATED = datetime(2020, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)


class Colour(enum.Enum):
    RED = "red"


class Login(BaseModel):
    user: str = "ann"
    password: SecretStr = SecretStr("tiger")


class Revealed(BaseModel):
    password: SecretStr

    @field_serializer("password", when_used="json")
    def reveal(self, password: SecretStr) -> str:
        return password.get_secret_value()


class Token(BaseModel):
    value: SecretBytes


class Score(BaseModel):
    value: float | None = None


class Sign(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    value: float


class Excluding(BaseModel):
    weight: int = Field(default=1, exclude=True)


class TwoAliases(BaseModel):
    x: int = Field(validation_alias="in", serialization_alias="out")


class OneAlias(BaseModel):
    x: int = Field(alias="in")


class Computing(BaseModel):
    a: int = 1

    @computed_field
    @property
    def b(self) -> int:
        return self.a + 1


class ForbiddingComputed(Computing):
    model_config = ConfigDict(extra="forbid")


class Parent(BaseModel):
    a: int = 1


class Child(Parent):
    b: int = 2


class OfParent(BaseModel):
    of: Parent


class OfAnyParent(BaseModel):
    of: SerializeAsAny[Parent]


class OfAny(BaseModel):
    of: Any


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Box(BaseModel, Generic[T]):
    x: T


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


class Pet(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Unchecked(BaseModel):
    """pydantic checks no default."""

    colour: Colour = "red"  # type: ignore[assignment]
    numbers: set[int] = [1]  # type: ignore[assignment]
    path: Path = "a"  # type: ignore[assignment]
    url: AnyUrl = "https://example.org"  # type: ignore[assignment]
    wait: timedelta = 5  # type: ignore[assignment]
    of: Parent = {"a": 2}  # type: ignore[assignment]


class Answers:
    """Of the comparison of two arrays: one for each item, as numpy's and pandas' are."""

    def __init__(self, *answers: Any) -> None:
        self.answers = answers

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    def all(self) -> Any:
        return all(self.answers)


class Array:
    def __init__(self, items: list[int]) -> None:
        self.items = items

    def __eq__(self, other: Any) -> Any:
        return Answers(*(a == b for a, b in zip(self.items, other.items, strict=True)))

    __hash__ = None  # type: ignore[assignment]


class OfArray(BaseModel):
    of: Annotated[
        InstanceOf[Array],
        BeforeValidator(lambda given: Array(given) if isinstance(given, list) else given),
        PlainSerializer(lambda array: [min(item, 9) for item in array.items]),
    ]


class Text(BaseModel):
    raw: bytes


class Written64(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64")
    raw: bytes


class Both64(Written64):
    model_config = ConfigDict(val_json_bytes="base64")


class Many(BaseModel):
    colour: Colour = Colour.RED
    by_colour: dict[Colour, int] = {}
    by_number: dict[int, str] = {}
    numbers: set[int] = set()
    letters: frozenset[str] = frozenset()
    pair: tuple[int, str] = (1, "a")
    some: Sequence[int] = ()
    at: datetime = NOON
    for_: timedelta = timedelta(microseconds=1)
    price: Decimal = Decimal("1.50")
    path: Path = Path("a")
    clock: time = time(1)
    url: AnyUrl | None = None


class TextOrMoment(BaseModel):
    at: str | datetime


class OfJson(BaseModel):
    numbers: Json[list[int]]


class Tree(BaseModel):
    kids: "list[Tree]" = []


class Renaming(BaseModel):
    a: int

    @model_serializer
    def as_other(self) -> dict[str, int]:
        return {"z": self.a}


class Stripped(BaseModel):
    a: Annotated[str, AfterValidator(str.strip)]


class Alike(BaseModel):
    weight: int = Field(default=1, exclude=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike)

    __hash__ = None  # type: ignore[assignment]


class Busy(BaseModel):
    name: str = "n"
    _calls: int = PrivateAttr(0)

    @functools.cached_property
    def client(self) -> object:
        return object()


class Bursting(BaseModel):
    value: float = 1.0

    @pydantic.model_validator(mode="before")
    @classmethod
    def burst(cls, data: Any) -> Any:
        if data.get("value") == 2.0 and data.pop("seen", True):
            raise ZeroDivisionError
        return data


@dataclasses.dataclass
class Row:
    a: int
    kids: "list[Row]" = dataclasses.field(default_factory=list)
    secret: SecretStr | None = None
    count: int = dataclasses.field(init=False, default=0)


@dataclasses.dataclass(eq=False)
class Point:
    x: float
    of: Any = None


class Unknown:
    pass


@dataclasses.dataclass
class Unreadable:
    """pydantic makes no schema of it."""

    of: Unknown | None = None
    inner: Any = None


@pydantic.dataclasses.dataclass
class Checked:
    secret: SecretStr


class Pair(NamedTuple):
    a: int
    b: Any


def busy() -> Busy:
    made = Busy()
    made._calls = 5
    assert made.client
    return made


READ_BACK = [
    Login(password=SecretStr("")), Revealed(password=SecretStr("tiger")), Score(value=1.5), Score(),
    Sign(value=math.nan), Excluding(), OneAlias(**{"in": 1}), Computing(), OfParent(of=Parent()),
    OfAny(of=Parent()), OfAny(of=(1, {"at": NOON})), OfAny(of={3}), OfAny(of=[Row(1)]),
    Open(at=NOON, of=[1]), Box[int](x=1), Box(x=1), Box(x=Box[int](x=1)), Pet(pet=Dog()),
    Text(raw=b"abc"), Both64(raw=b"\xff"), Many(),
    Many(by_colour={Colour.RED: 1}, by_number={1: "a"}, numbers={1, 2}, letters=frozenset("ab")),
    Unchecked(), [Unchecked()], OfArray(of=Array([1, 2])), Many(at=REPEATED), REPEATED,
    TextOrMoment(at="x"), Tree(kids=[Tree(), Tree(kids=[Tree()])]), Stripped(a=" x "), busy(),
    Row(1, [Row(2)]), Point(2.0), Unreadable(), Pair(1, "a"), RootModel[list[int]]([1]), Child(),
    [Parent(), {"of": Child()}], OrderedDict(a=1), deque([1]), {1: 2}, (1, 2), {1}, frozenset("a"),
    NOON, UUID(int=1), Decimal("1.50"), Colour.RED, Path("x"), b"a", None,
]
CHANGED = [
    Login(), [Login()], {"of": [Login()]}, (1, Login()), OrderedDict(of=Login()), deque([Login()]),
    Box(x=Login()), Box[Login](x=Login()), OfAny(of=Login()), OfAny(of=SecretStr("x")),
    Open(of=SecretStr("x")), Row(1, [Row(2, secret=SecretStr("x"))]), Point(1.0, Login()),
    Unreadable(inner=[Login()]), Checked(SecretStr("x")), Pair(1, Login()), Token(value=b"x"),
    RootModel[SecretStr](SecretStr("x")), {"of": SecretStr("x")}, SecretStr("x"),
    Score(value=math.nan), Score(value=-math.inf), [1, Score(value=math.nan)], Open(of=math.nan),
    Point(math.nan), Excluding(weight=7), Alike(weight=7), TwoAliases(**{"in": 1}),
    ForbiddingComputed(), OfParent(of=Child()), OfAnyParent(of=Child()), Written64(raw=b"abc"),
    Text(raw=b"\xff"), TextOrMoment(at=NOON), OfJson(numbers="[1]"), Renaming(a=1),
    OfArray(of=Array([1, 20])), Stripped.model_construct(a=" x "), Bursting(value=2.0, seen=False),
]


def ids(value: object) -> str:
    return type(value).__name__


@pytest.mark.parametrize("value", READ_BACK, ids=ids)
def test_what_reads_back_as_it_was_written_is_accepted(value):
    encode(value, "the payload")


@pytest.mark.parametrize("value", CHANGED, ids=ids)
def test_what_would_read_back_otherwise_is_refused(value):
    with pytest.raises(InvalidArgument, match=r"^the payload (would not be read|is not|cannot be)"):
        encode(value, "the payload")


@pytest.mark.parametrize("value", READ_BACK, ids=ids)
def test_a_class_that_its_schema_calls_certain_reads_back_by_value_too(value):
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        try:
            adapter = TypeAdapter(type(value))
        except pydantic.PydanticUserError:
            return
        if is_certain(adapter.core_schema):
            assert adapter.validate_json(encode(value, "it")) == value


@pytest.mark.parametrize("kind", [Parent, Child, OneAlias, RootModel[list[int]], Cat])
def test_the_schema_alone_decides_about_plain_classes(kind):
    assert is_certain(TypeAdapter(kind).core_schema)


@pytest.mark.parametrize("value", CHANGED, ids=ids)
def test_the_schema_alone_never_decides_for_a_class_that_may_read_back_otherwise(value):
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        try:
            schema = TypeAdapter(type(value)).core_schema
        except pydantic.PydanticUserError:
            return
        assert not is_certain(schema)


def test_the_error_says_which_field_and_shows_no_secret():
    with pytest.raises(InvalidArgument, match=r"x\.0\.password is a secret.*reference") as caught:
        encode(Box[list[Login]](x=[Login()]), "the payload")
    assert "tiger" not in str(caught.value)
    with pytest.raises(InvalidArgument, match="value is nan, and would be read as None"):
        encode(Score(value=math.nan), "the payload")


@pytest.mark.parametrize(
    "value", [Login(), [Login()], Excluding(weight=7), TwoAliases(**{"in": 1})], ids=ids
)
async def test_no_way_of_enqueueing_takes_what_would_read_back_otherwise(app, conn, value):
    @app.job("t")
    async def handler(job: Job[Any]) -> None: ...

    calls = [
        app.enqueue("t", value), app.enqueue("t", value, unique_key="k"), handler.enqueue(value),
        app.enqueue("t", value, conn=conn), app.enqueue_many("t", [1, value]),
        app.enqueue_many("t", [value], conn=conn), handler.enqueue_many([1, value]),
        JobService(conn).create("t", payload=value),
    ]
    for call in calls:
        with pytest.raises(InvalidArgument):
            await call
    assert await conn.fetchval("select count(*) from jobs") == 0


async def test_a_result_that_would_read_back_otherwise_fails_its_job_without_retry(app, conn):
    results = [Login(), {"of": [Score(value=math.nan)]}, Excluding(weight=7), Parent()]

    @app.job("t")
    async def handler(job: Job[int]) -> object:
        return results[job.payload]

    @app.job("in transaction")
    async def committing(job: RunningJob[Any]) -> None:
        async with job.transaction(result=Login()):
            pass

    await handler.enqueue_many(range(4))
    await app.enqueue("in transaction", max_retries=0)
    await app.worker().run(until_empty=True)
    rows = await conn.fetch("select status, retry_count, error, result from jobs order by id")
    assert [row["status"] for row in rows] == ["failed"] * 3 + ["completed", "failed"]
    assert {row["retry_count"] for row in rows} == {0}
    for row in rows[:3]:
        assert row["error"].startswith("the result would not be read as it was written: ")
    assert "the result would not be read as it was written: " in rows[4]["error"]
    assert rows[3]["result"] == '{"a": 1}'


async def test_a_service_refuses_a_result_that_would_read_back_otherwise(conn):
    service = JobService(conn, worker="me")
    job = await service.mark_processing((await service.create("t")).id)
    with pytest.raises(InvalidArgument, match="the result would not be read as it was written"):
        await service.mark_completed(job.id, Login())
