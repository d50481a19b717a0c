"""Whatever JSON arrives, the identities hold and nothing is raised."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from eventtree.event import Usage
from eventtree.pricing.pricer import Pricer
from eventtree.usage.normalize import PLACES, normalize
from eventtree.usage.providers import CONTAINERS, FORMATS
from eventtree.usage.reader import find
from eventtree.usage.tokenizer import infer

AT = datetime(2026, 11, 1, tzinfo=UTC)
PRICER = Pricer(catalogue=False, table={"*": {"input": 2, "output": 8, "cache_read": 1, "reasoning": 9}})

KEYS = sorted(
    {
        step.partition("[")[0]
        for shape in FORMATS
        for paths in shape.reads.values()
        for step in paths.replace(" | ", ".").split(".")
    }
    | {step for path in CONTAINERS for step in path.split(".") if step}
    | {"service_tier", "iterations", "type", "modality", "ttl", "total_cost", "cost", "headers"}
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 200),
    st.integers(),
    st.floats(),
    st.sampled_from(["AUDIO", "5m", "12", "x"]),
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)
record = st.dictionaries(
    st.sampled_from([*PLACES, "cached", "provider", "streamed", "batch_size"]), anything, max_size=6
)


@st.composite
def shaped(draw: st.DrawFn) -> dict[str, Any]:
    """A record in which places hold real shapes with arbitrary small counts."""
    raw: dict[str, Any] = {}
    for place in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=3, unique=True)):
        one = [_filled(draw) for _ in range(draw(st.integers(1, 2)))]
        raw[place] = one if place in ("usage_metadata", "response_metadata") else one[0]
    raw["provider"] = draw(st.sampled_from([None, "openai", "anthropic", "google_genai", "fm"]))
    raw["streamed"] = draw(st.booleans())
    raw["batch_size"] = draw(st.integers(1, 2))
    return raw


def _filled(draw: st.DrawFn) -> dict[str, Any]:
    shape = draw(st.sampled_from(FORMATS))
    body: dict[str, Any] = {}
    for paths in shape.reads.values():
        path = draw(st.sampled_from(paths.split(" | ")))
        if "[" not in path and draw(st.booleans()):
            _put(body, path.split("."), draw(st.integers(0, 40)))
    container = draw(st.sampled_from([c for c in CONTAINERS if "." not in c]))
    return {container: body} if container and draw(st.booleans()) else body


def _put(body: dict[str, Any], steps: list[str], value: int) -> None:
    for step in steps[:-1]:
        body = body.setdefault(step, {}) if isinstance(body.get(step, {}), dict) else {}
    body[steps[-1]] = value


def assert_identities(usage: Usage) -> None:
    counts = {k: v for k, v in usage.model_dump().items() if k.endswith("_tokens") and v is not None}
    assert all(type(v) is int and v >= 0 for v in counts.values())
    if usage.input_tokens is not None and usage.output_tokens is not None:
        assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    for whole, parts in (
        ("input_tokens", ("cache_read_tokens", "cache_write_tokens")),
        ("input_tokens", ("input_audio_tokens", "input_image_tokens")),
        ("cache_write_tokens", ("cache_write_5m_tokens", "cache_write_1h_tokens")),
        ("output_tokens", ("reasoning_tokens",)),
        ("output_tokens", ("output_audio_tokens", "output_image_tokens")),
    ):
        if whole in counts:
            assert sum(counts.get(part, 0) for part in parts) <= counts[whole]
        if "total_tokens" in counts:
            assert sum(counts.get(part, 0) for part in parts) <= counts["total_tokens"]
    if "total_tokens" in counts:
        assert max(counts.get("input_tokens", 0), counts.get("output_tokens", 0)) <= counts["total_tokens"]


@given(record)
@settings(max_examples=max(300, settings.default.max_examples))
def test_identities_hold_for_any_json(raw: dict[str, Any]) -> None:
    """C2: uncached + read + write = input, never negative, for every value ever made."""
    usage = normalize(raw)
    if usage is not None:
        assert_identities(usage)
        assert usage.raw == raw or raw != raw
        cost = PRICER.price(usage, model="m", provider=None, at=AT)
        assert cost is None or all(v is None or v >= 0 for v in (cost.input_usd, cost.output_usd, cost.total_usd))


@given(shaped())
@settings(max_examples=max(400, settings.default.max_examples))
def test_identities_hold_for_every_shape_in_every_place(raw: dict[str, Any]) -> None:
    """C2, C3: also where places and shapes mix, and whatever figures they carry."""
    usage = normalize(raw)
    if usage is not None:
        assert_identities(usage)


@given(anything)
def test_any_json_at_the_pipeline_is_no_error(raw: Any) -> None:
    """Never raises."""
    normalize(raw)
    infer(raw, raw, "gpt-4o", tokenizer=len)


@given(anything, st.sampled_from(["a.b", "usage[type=x].cost", "[", "usage[].cost", ""]))
def test_any_path_in_any_json_is_no_error(raw: Any, path: str) -> None:
    """Never raises."""
    find(raw, path)
