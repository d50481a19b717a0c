"""The README's table of provider fields is that of `usage/shapes.py`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eventtree.usage.providers import FORMATS, ProviderFormat

README = (Path(__file__).parents[2] / "README.md").read_text()
WHOLES = ("input", "output")


def row(shape: ProviderFormat) -> str:
    """A shape as a row of the README: its fields by what they count, the first three spellings of each."""
    parts = [f"{name.replace('_', ' ')} {fields(paths)}" for name, paths in shape.reads.items() if name not in WHOLES]
    return f"| {shape.name} | {' | '.join(fields(shape.reads.get(whole)) for whole in WHOLES)} | {'; '.join(parts)} |"


def fields(paths: str | None) -> str:
    found = [re.sub(r"\[(\w+=)?|\]", lambda m: {"]": ""}.get(m[0], " "), path) for path in (paths or "").split(" | ")]
    return ", ".join(f"`{path}`" for path in found[:3] if path) + (", …" if len(found) > 3 else "")


@pytest.mark.parametrize("shape", FORMATS, ids=lambda shape: shape.name)
def test_the_readme_names_the_fields_of_every_shape(shape: ProviderFormat) -> None:
    """Issue 5: a table says which provider fields are understood."""
    assert row(shape) in README
