"""The public usage dataset of genai-prices (tests/dataset/usages.json there), whole, where a copy is at hand.

EVENTTREE_PRICE_DATASET names the copy. Each entry is a recorded body, and under `extracted` what genai-prices reads
from it, once for each reading its providers' extractors allow. Our one reading must be among them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import genai_prices
import pytest

from eventtree.event import Usage
from eventtree.pricing.pricer import Pricer
from eventtree.usage.normalize import normalize

DATASET = os.environ.get("EVENTTREE_PRICE_DATASET")
pytestmark = pytest.mark.skipif(not DATASET, reason="EVENTTREE_PRICE_DATASET names no copy of the dataset")
AT = datetime(2026, 11, 1, tzinfo=UTC)
COMPARED = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


@pytest.fixture(scope="module")
def entries() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads(Path(DATASET or "").read_text(encoding="utf-8"))
    return loaded


def is_read(usage: Usage, theirs: dict[str, int], is_exact: bool = True) -> bool:
    """Whether a reading of theirs is ours; what is absent is 0. Cohere's is that of its billed units.

    Not exact: what theirs has is the same; ours knows more names of the cache (DeepSeek, Mistral), and an embedding's
    reading has no output.
    """
    ours = {key: getattr(usage, key) or 0 for key in COMPARED}
    billed = {key: usage.units.get(f"billed_{key}", 0) for key in COMPARED}
    keys = COMPARED if is_exact else [key for key in COMPARED if key in theirs]
    reasoning = theirs.get("output_reasoning_tokens", usage.reasoning_tokens)
    has_sides = any(all(theirs.get(key, 0) == one[key] for key in keys) for one in (ours, billed))
    return has_sides and reasoning == usage.reasoning_tokens


def test_every_body_is_read_as_genai_prices_reads_it(entries: list[dict[str, Any]]) -> None:
    """C2, C3: tokens right in every recorded body."""
    wrong = []
    for entry in entries:
        readings = [one["usage"] for one in entry.get("extracted", ()) if "input_tokens" in one["usage"]]
        usage = normalize({"raw": entry["body"]})
        if readings and not _is_compacted(entry) and not (usage and _is_fullest(usage, readings)):
            wrong.append((entry["body"], readings))
    assert not wrong, f"{len(wrong)} of {len(entries)}, the first: {wrong[0]}"


def _is_compacted(entry: dict[str, Any]) -> bool:
    """Anthropic's compacted contexts: the bill is the sum of the rounds, which the extractors do not read."""
    return "iterations" in (entry["body"].get("usage") or {})


def _is_fullest(usage: Usage, readings: list[dict[str, int]]) -> bool:
    """Whether ours is among theirs, and none with the same sides has details that ours lacks."""
    sides = ("input_tokens", "output_tokens")
    same = [one for one in readings if is_read(usage, {k: one[k] for k in sides if k in one}, is_exact=False)]
    fullest = max(same, key=len, default=None)
    return fullest is not None and is_read(usage, fullest, is_exact=False)


def test_every_reading_is_priced_as_genai_prices_prices_it_today(entries: list[dict[str, Any]]) -> None:
    """To the cent, for every provider that prices the model (prices moved since the dataset was made)."""
    pricer, wrong, priced = Pricer(), [], 0
    for entry, usage, provider, theirs in _priced_readings(entries):
        ours = pricer.price(usage, model=entry["model"], provider=provider, at=AT)
        priced += 1
        if ours is None or ours.total_usd != theirs.total_price:
            wrong.append((entry["body"], provider, ours, theirs))
    assert priced
    assert not wrong, f"{len(wrong)} of {priced}, the first: {wrong[0]}"


def _priced_readings(entries: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Usage, str, Any]]:
    """Each of their readings that is ours, for each provider that prices it, with genai-prices' own figure of today.

    A tier and units are asked of genai-prices in another way, a model listed without any price costs 0 there and is
    unknown here: neither is compared.
    """
    for entry in entries:
        usage = normalize({"raw": entry["body"]})
        for reading in entry.get("extracted", ()):
            if usage is None or usage.units or not is_read(usage, reading["usage"]):
                continue
            plain = usage.model_copy(update={"raw": None, "service_tier": None})
            for provider in {one["provider_id"] for one in reading["extractors"] if "input_price" in one}:
                try:
                    theirs = genai_prices.calc_price(
                        genai_prices.Usage(**_theirs(plain, reading["usage"])),
                        entry["model"],
                        provider_id=provider,
                        genai_request_timestamp=AT,
                    )
                except (LookupError, ValueError):
                    continue
                if vars(theirs.model_price):
                    yield entry, plain, provider, theirs


def _theirs(usage: Usage, reading: dict[str, int]) -> dict[str, int]:
    """Their reading, with the reasoning that the dataset left out when it was made."""
    reasoning = {} if usage.reasoning_tokens is None else {"output_reasoning_tokens": usage.reasoning_tokens}
    return {"output_tokens": 0, **reading, **reasoning}
