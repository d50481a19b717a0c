"""Records as bytes: orjson, where it is installed, and pydantic's writer make the same of every record."""

from __future__ import annotations

import enum
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventtree import record

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=30,
)


@given(PLAIN)
def test_both_writers_say_the_same(value: object) -> None:
    entry = {"r": "note", "id": "a", "tree": "a", "value": value}
    with pytest.MonkeyPatch.context() as patch:
        quick, read = record.encode(entry), record.decode(record.encode(entry))
        patch.setattr(record, "orjson", None)
        slow = record.encode(entry)
        assert record.decode(quick) == record.decode(slow) == read == entry
    assert record.decode(slow) == entry


@pytest.mark.parametrize("has_orjson", [True, False])
@pytest.mark.parametrize("value", [object(), "\ud800", {"\ud800": 1}])
def test_what_json_has_nothing_for_is_refused(value: object, has_orjson: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_orjson:
        monkeypatch.setattr(record, "orjson", None)
    with pytest.raises(ValueError):
        record.encode({"r": "note", "id": "a", "tree": "a", "value": value})


class Odd(enum.Enum):
    """Its `value` is code: orjson would run it, and end the process where it raises."""

    A = "a"

    @property
    def value(self) -> str:
        raise AssertionError("code of the app's was run")


class Word(enum.StrEnum):
    B = "b"


@pytest.mark.parametrize(
    "value", [array("h", [1, 2]), b"\1\0\2\0", bytearray(4), {1}, 1j, ..., object(), Odd.A, Word.B]
)
def test_orjson_runs_no_code_for_what_is_harmless_and_refuses_what_json_has_nothing_for(value: object) -> None:
    for around in ([value], {"k": [1, ({"x": value},)]}):
        is_harmless = record.is_harmless([around])
        assert not is_harmless or record.written(around) is None
        assert not (is_harmless and isinstance(value, enum.Enum))


def test_what_holds_itself_or_much_is_not_looked_at() -> None:
    looped: list[object] = [1]
    looped.append(looped)
    assert not record.is_harmless([looped])
    wide: list[object] = ["x"]
    for _ in range(9):
        wide = [wide] * 10
    assert not record.is_harmless([wide])
    assert record.is_harmless([[1, (True, "x"), {"y": [None, 2.5, []]}, {}]])
