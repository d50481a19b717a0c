"""Anything an app can hand over becomes plain JSON, and the app's object stays as it was."""

from __future__ import annotations

import array
import asyncio
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import functools
import io
import ipaddress
import json
import math
import os
import pathlib
import re
import signal
import sys
import threading
import time
import types
import unittest.mock
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy
import pydantic
import pydantic_core
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventtree import diagnostics
from eventtree.config import Bounds
from eventtree.content import Sanitizer
from eventtree.content.walk import CONVERTERS, MAX_KINDS
from eventtree.recording import exceptions
from tests.plain import sanitize


def is_plain(value: Any) -> bool:
    """Only the exact builtin classes, all the way down."""
    if type(value) is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    if type(value) is list:
        return all(is_plain(item) for item in value)
    return value is None or type(value) in (bool, int, float, str)


def checked(value: Any, **options: Any) -> Any:
    """`sanitize(value)`, after checking that every encoder takes it."""
    out = sanitize(value, **options)
    assert is_plain(out)
    json.dumps(out, allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert json.loads(pydantic_core.to_json(out)) == json.loads(json.dumps(out))
    return out


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Held:
    name: str
    lock: Any


@dataclasses.dataclass(slots=True)
class Slotted:
    name: str = "n"


class Account(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", arbitrary_types_allowed=True)
    name: str
    key: pydantic.SecretStr
    code: pydantic.SecretBytes = pydantic.SecretBytes(b"xyz")
    hidden: str = pydantic.Field(default="no", exclude=True)

    @pydantic.field_serializer("name")
    def fail(self, _value: str) -> str:
        raise ValueError("serializer fails")

    @property
    def trap(self) -> str:
        raise AssertionError("properties must not be read")


class Empty(pydantic.BaseModel):
    pass


class Silent:
    pass


class Speaking:
    def __repr__(self) -> str:
        raise AssertionError("a repr may do anything")


LOCK = threading.RLock()
VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (3, 3),
    (2**63 - 1, 2**63 - 1),
    (-(2**63), -(2**63)),
    (2**63, str(2**63)),
    (2**70, str(2**70)),
    (1.5, 1.5),
    (math.nan, "NaN"),
    (math.inf, "Infinity"),
    (-math.inf, "-Infinity"),
    ("text", "text"),
    ("lone \ud800 surrogate", "lone \ufffd surrogate"),
    ("pair \ud83d\ude00", "pair \U0001f600"),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"b", "a"}), ["a", "b"]),
    ((1, (2,)), [1, [2]]),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC), "2026-01-02T03:04:00+00:00"),
    (datetime.date(2026, 1, 2), "2026-01-02"),
    (datetime.time(3, 4), "03:04:00"),
    (datetime.timedelta(minutes=1), 60.0),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (decimal.Decimal("1.10"), "1.10"),
    (pathlib.PurePosixPath("/a/b"), "/a/b"),
    (complex(1, 2), "(1+2j)"),
    (ValueError("bad"), {"type": "ValueError", "message": "bad"}),
    (dict, "dict"),
    (collections.OrderedDict, "collections.OrderedDict"),
    (os.path.join, "posixpath.join"),
    (len, "len"),
    (json, "json"),
    (numpy.float32(1.5), 1.5),
    (numpy.int64(7), 7),
    (numpy.bool_(True), True),
    (numpy.float64("nan"), "NaN"),
    (numpy.arange(3), [0, 1, 2]),
    (numpy.zeros((9, 9)), {"object": "numpy.ndarray", "shape": [9, 9], "dtype": "float64"}),
    (Point(1, 2), {"x": 1, "y": 2}),
    (Empty(), {}),
    (types.SimpleNamespace(a=[1]), {"a": [1]}),
    (unittest.mock.MagicMock(), {"object": "unittest.mock.MagicMock"}),
    (Slotted(), {"name": "n"}),
    (collections.OrderedDict(a=1), {"a": 1}),
    (collections.defaultdict(list, a=[1]), {"a": [1]}),
    (collections.deque([1, 2]), [1, 2]),
    (collections.UserList([1]), [1]),
    (collections.UserDict(a=1), {"a": 1}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (collections.ChainMap({"a": 1}, {"a": 2, "b": 3}), [{"a": 1}, {"a": 2, "b": 3}]),
    (collections.UserString("text"), "text"),
    (collections.OrderedDict(a=1).values(), [1]),
    (array.array("i", [1, 2]), [1, 2]),
    (re.compile("a+"), "a+"),
    (ipaddress.ip_address("127.0.0.1"), "127.0.0.1"),
    ({"a": 1}.keys(), ["a"]),
    ({"a": 1}.values(), [1]),
    (range(3), [0, 1, 2]),
    (types.SimpleNamespace, "types.SimpleNamespace"),
    ({1: "int", "1": "str", None: "none", False: "no"}, {"1": "int", "1 (2)": "str", "null": "none", "false": "no"}),
    ({(1, 2): 3}, {"[1, 2]": 3}),
    (
        b"abc",
        {"type": "file", "bytes": 3, "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    ),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=[str(type(value).__name__) for value, _ in VALUES])
def test_each_kind_of_value_has_its_plain_form(value: Any, expected: Any) -> None:
    """F21."""
    assert checked(value) == expected


def test_tables_have_their_plain_forms() -> None:
    """F21."""
    import pandas  # only where it is used: it takes 25 MB

    assert checked(pandas.Series([1.5, 2])) == [1.5, 2.0]
    assert checked(pandas.Index(["a", "b"])) == ["a", "b"]
    assert checked(pandas.DataFrame({"a": range(100)})) == {"object": "pandas.DataFrame", "shape": [100, 1]}


@pytest.mark.parametrize("buffer", [bytearray(b"abc"), memoryview(b"abc")])
def test_buffers_are_told_by_size_and_hash(buffer: Any) -> None:
    """F21."""
    assert checked(buffer) == checked(b"abc")


def test_dataclass_with_a_lock_keeps_its_other_fields() -> None:
    """E2: no asdict, no deepcopy."""
    out = checked(Held("x", LOCK))
    assert out["name"] == "x"
    assert out["lock"]["object"] == "_thread.RLock"


def test_pydantic_model_is_read_without_its_serializers_and_secrets_stay_hidden() -> None:
    """F21, F2."""
    value = Account(name="ada", key=pydantic.SecretStr("canary"), more={"n": 1})
    assert checked(value) == {"name": "ada", "key": "**********", "code": "**********", "more": {"n": 1}}


def test_root_model_is_its_root() -> None:
    """F21."""
    assert checked(pydantic.RootModel[list[int]]([1, 2])) == [1, 2]


@pytest.mark.parametrize("kind", [Silent, Speaking])
def test_object_is_named_by_its_class_and_its_identity(kind: type) -> None:
    """F21: what it would say of itself is its own code."""
    value = kind()
    assert checked([value, value]) == [{"object": f"{__name__}.{kind.__name__}", "id": hex(id(value))}] * 2


def test_environment_of_the_process_is_never_read() -> None:
    """F22."""
    assert checked(os.environ) == {"object": "os._Environ"}


# --- what must not be touched -------------------------------------------------------------------------------------


def counting() -> Any:
    """A generator whose first item shows that nobody read it."""
    yield from (1, 2, 3)


def test_generators_iterators_and_files_are_named_and_not_read() -> None:
    """E5."""
    generator, iterator, lines, stream = counting(), iter([1, 2]), map(str, [1, 2]), io.StringIO("one\ntwo")
    out = checked([generator, iterator, lines, stream, {"nested": generator}])
    assert out[0] == {"object": "generator", "name": "counting"}
    assert (next(generator), next(iterator), next(lines), stream.readline()) == (1, 1, "1", "one\n")


async def test_coroutines_futures_and_async_generators_are_named_and_not_awaited() -> None:
    """E5."""

    async def work() -> int:
        return 1

    async def stream() -> Any:
        yield 1

    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    coroutine, agen = work(), stream()
    out = checked([coroutine, agen, future])
    assert [item["object"] for item in out] == ["coroutine", "async_generator", "_asyncio.Future"]
    assert await coroutine == 1
    assert [item async for item in agen] == [1]


# --- broken objects -----------------------------------------------------------------------------------------------


class RaisingRepr:
    def __repr__(self) -> str:
        raise ValueError("no repr")


class RaisingGetattr:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no attributes")


class RaisingClass:
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("no class")


class RaisingSequence(Sequence[int]):
    def __getitem__(self, index: Any) -> Any:
        raise OSError("no items")

    def __len__(self) -> int:
        return 3


class RaisingIter(collections.UserList[int]):
    def __iter__(self) -> Any:
        raise RuntimeError("no iteration")


class HalfMapping(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        if key == "bad":
            raise KeyError("gone")
        return 1

    def __iter__(self) -> Any:
        return iter(["good", "bad"])

    def __len__(self) -> int:
        return 2


class RaisingError(Exception):
    def __str__(self) -> str:
        raise RaisingError("and again")


class RaisingText(RaisingError):
    def __str__(self) -> str:
        return 1  # type: ignore[return-value]


class RaisingInt(int):
    def __int__(self) -> int:
        raise RuntimeError

    def __le__(self, other: int) -> bool:
        raise RuntimeError

    __ge__ = __le__
    bit_length = __int__


class RaisingStr(str):
    def __str__(self) -> str:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


class RaisingDict(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError

    def __iter__(self) -> Any:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError

    def __contains__(self, key: object) -> bool:
        raise RuntimeError

    keys = get = pop = __getitem__ = copy = items


class RaisingMeta(type):
    def __hash__(cls) -> int:
        raise RuntimeError("no hash")

    def __getattr__(cls, name: str) -> Any:
        raise RuntimeError("no attribute")


class Unhashable(metaclass=RaisingMeta):
    pass


BROKEN = ("RaisingError", "RaisingText", "Unhashable")
UNTOUCHED = ("RaisingRepr", "RaisingSequence", "HalfMapping")


@pytest.mark.parametrize("name", BROKEN)
def test_broken_object_becomes_a_marker_and_its_neighbours_are_kept(name: str) -> None:
    """F21."""
    value = globals()[name]()
    out = checked({"before": 1, "broken": value, "after": [2]})
    assert out["before"] == 1
    assert out["after"] == [2]
    assert out["broken"]["unreadable"].endswith(name)
    assert out["broken"]["problem"]


@pytest.mark.parametrize("name", UNTOUCHED)
def test_objects_of_other_peoples_classes_are_named_and_not_read(name: str) -> None:
    """F21: containers too; to read one may ask a database, change it (a cache that counts uses), or never end."""
    assert checked([globals()[name]()])[0]["object"].endswith(name)


@pytest.mark.parametrize("name", ["RaisingGetattr", "RaisingClass"])
def test_object_that_hides_its_class_is_still_named(name: str) -> None:
    """F21."""
    assert name in json.dumps(checked(globals()[name]()))


def test_subclasses_of_builtins_are_read_past_their_own_methods() -> None:
    """F21."""
    values = [RaisingStr("abc"), RaisingDict(a=1), RaisingDict(type="image", url="u"), RaisingIter([1]), RaisingInt(3)]
    assert checked(values) == ["abc", {"a": 1}, {"type": "image", "url": "u"}, [1], 3]


class Quitting(Exception):
    def __init__(self, how: BaseException | None = None) -> None:
        self.how = how

    def __str__(self) -> str:
        if self.how is None:
            sys.exit(3)
        raise self.how


@pytest.mark.parametrize("how", [None, KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError(), GeneratorExit()])
def test_a_value_cannot_end_the_app(how: BaseException | None) -> None:
    """What a value raises stays in its record, SystemExit and its like too."""
    out = checked(["before", Quitting(how), "after"])
    assert (out[0], out[2]) == ("before", "after")
    assert ("SystemExit" if how is None else type(how).__qualname__) in out[1]["problem"]
    assert diagnostics.message_of(Quitting(how)) == f"<{__name__}.Quitting whose message cannot be read>"


class Slow(Exception):
    def __str__(self) -> str:
        signal.raise_signal(signal.SIGINT)
        time.sleep(5)
        return "slow"


class Interrupted:
    """A handler of the app's own for Ctrl-C."""

    def __call__(self, *_: Any) -> None:
        raise SystemExit(130)


def interrupted(*_: Any) -> None:
    raise SystemExit(130)


HANDLERS = (
    signal.default_int_handler,
    interrupted,
    functools.partial(interrupted, 1),
    Interrupted(),
    Interrupted().__call__,
)


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_signal_that_comes_while_a_value_is_read_reaches_the_app(handler: Any) -> None:
    """A user's Ctrl-C is no broken object, whatever handles it."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            sanitize([Slow()])
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            exceptions.describe(Slow())
    finally:
        signal.signal(signal.SIGINT, before)


def test_cycles_are_marked_and_shared_objects_are_not() -> None:
    """F21."""
    shared = [1]
    cyclic: dict[str, Any] = {"a": shared, "b": shared}
    cyclic["self"] = cyclic
    assert checked(cyclic) == {"a": [1], "b": [1], "self": "…[the same object again]…"}


def test_cycle_through_objects_is_marked() -> None:
    """F21."""
    held = Held("x", None)
    held.lock = [held]
    assert checked(held)["lock"] == ["…[the same object again]…"]


def test_dict_changed_by_another_thread_during_the_walk_is_still_read() -> None:
    """F21."""
    shared = {str(n): [n] for n in range(200)}
    stop = threading.Event()

    def change() -> None:
        n = 0
        while not stop.is_set():
            shared[f"new{n % 50}"] = [n]
            shared.pop(f"new{(n * 7) % 50}", None)
            n += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            out = sanitize(shared)
            assert out["199"] == [199]
    finally:
        stop.set()
        thread.join()


def test_classes_made_at_run_time_do_not_pile_up() -> None:
    """E1: a model made for each request."""
    for n in range(MAX_KINDS + 100):
        assert sanitize(type(f"Made{n}", (dict,), {})(a=n)) == {"a": n}
    assert len(CONVERTERS) <= MAX_KINDS


# --- anything at all ----------------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters()),
    st.binary(max_size=50),
    st.decimals(),
    st.uuids(),
    st.datetimes(),
    st.sampled_from([Colour.RED, LOCK, len, int, Silent, RaisingRepr]),
    st.builds(RaisingRepr),
    st.builds(RaisingSequence),
    st.builds(numpy.float32, st.floats(width=32)),
)
keys = st.one_of(st.text(st.characters()), st.integers(), st.none(), st.tuples(st.integers()), st.booleans())
nested = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(keys, inner, max_size=5),
        st.tuples(inner, inner),
        st.builds(Held, st.text(), inner),
        st.builds(collections.deque, st.lists(inner, max_size=3)),
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(nested)
def test_whatever_comes_is_valid_json(value: Any) -> None:
    """F21."""
    checked(value)


simple = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(), st.binary(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(), inner, max_size=5)),
    max_leaves=30,
)


@settings(max_examples=100, deadline=None)
@given(simple)
def test_the_apps_value_is_not_changed(value: Any) -> None:
    """F21."""
    before = copy.deepcopy(value)
    sanitize(value)
    assert value == before


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=100),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.text(max_size=9).filter(lambda k: k != "type"), inner, max_size=5),
    ),
    max_leaves=30,
)


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_plain_json_stays_as_it_is_and_is_a_copy(value: Any) -> None:
    """What is plain already is not changed, and what the app changes later does not reach the record."""
    out = sanitize(value, bounds=Bounds(depth=100))
    assert out == value
    if isinstance(value, list | dict):
        assert out is not value


@settings(max_examples=200, deadline=None)
@given(nested, st.integers(100, 2000))
def test_nothing_is_larger_than_its_limit(value: Any, max_bytes: int) -> None:
    """F20."""
    out = sanitize(value, bounds=Bounds.model_construct(value_bytes=max_bytes, items=8, depth=4))
    assert len(pydantic_core.to_json(out)) <= max(max_bytes, 400)


def test_text_is_redacted_and_cut_like_any_other() -> None:
    """Names and tags go the same way."""
    assert Sanitizer(redact=lambda text: text.replace("canary", "*")).text("a canary") == "a *"
