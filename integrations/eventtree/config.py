"""Settings of a handler: one frozen object, from its arguments, else `configure(...)`, else the environment.

Each field of `Settings` says what it does. Those in `_FROM_ENVIRONMENT` can also be set without code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eventtree.errors import ConfigError
from eventtree.record import MAX_DEPTH

MEMORY = ":memory:"
"""As `journal=`: keep the journal in memory, bounded, gone with the process."""


class Bounds(BaseModel):
    """How much eventtree keeps at most. What a bound cuts is marked where it stood, or counted in the report."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    journal_bytes: int = Field(default=4 << 30, ge=1)
    """Size of all logs together. Beyond it no new tree is recorded, and the report counts it as `journal_full`."""
    memory_bytes: int = Field(default=64 << 20, ge=1)
    """The same for a journal in memory, counted as `memory_full`."""
    held_bytes: int = Field(default=64 << 20, ge=0)
    """Records that wait in memory while the disk refuses them. From half of it on no new tree is recorded."""
    kept_bytes: int = Field(default=256 << 20, ge=0)
    """Size of all logs together. Beyond it, logs whose trees are settled at every vendor are removed, oldest first."""
    kept_days: float = Field(default=7, ge=0)
    """Age at which settled logs are removed. What waits for a vendor is never removed by age."""
    open_runs: int = Field(default=100_000, ge=1)
    """Open runs of a process. Beyond it the oldest are forgotten, and arrive as `incomplete`."""
    open_hours: float = Field(default=24, gt=0)
    """Age at which open runs are forgotten too."""
    # Each of the next four has a least value: with less, a message would be cut to something that is none any more.
    value_bytes: int = Field(default=1 << 20, ge=1_000)
    """One value of an event (its inputs, its outputs, …) as JSON."""
    depth: int = Field(default=24, ge=3, le=MAX_DEPTH)
    """Levels of lists and objects within each other; at most what every reader of JSON follows."""
    items: int = Field(default=10_000, ge=10)
    """Entries of one list or object."""
    nodes: int = Field(default=100_000, ge=20)
    """Entries of all lists and objects of one value."""
    reply_bytes: int = Field(default=1 << 20, ge=1)
    """A vendor's answer, as received and again as decompressed. The rest is not read."""


BOUNDS = Bounds()
"""The defaults."""


class Settings(BaseModel):
    """The settings of one handler. All have defaults; unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    vendors: tuple[Any, ...] = ()
    """Where events go: values such as `HoneyHive(project="rag")`, or names (`honeyhive,braintrust`) whose settings come
    from the environment. A key in the environment alone switches no vendor on.
    """
    journal: str = ""
    """Folder of the journal. `:memory:` keeps it in memory, bounded, gone with the process; empty is the user's state
    folder.
    """
    session: str | None = None
    """Groups trees, where no `eventtree.session` does."""
    user: str | None = None
    """Whose requests these are, where no `eventtree.session` says it."""
    tags: tuple[str, ...] = ()
    """Tags of every tree."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Metadata of every tree."""
    environment: str | None = None
    """Label of the deployment: `production`, …"""
    sample_rate: float = Field(default=1.0, ge=0, le=1)
    """Share of trees to record, 0 to 1. Trees that are left out are counted in the report."""
    enabled: bool = True
    """`0` in the environment switches all recording off, whatever the code asks for."""
    deliver: bool = True
    """Off leaves sending to `eventtree ship --follow`, in a process of its own."""
    content: bool = True
    """Off records structure, times, tokens and cost only: no inputs, outputs, messages of errors, contents of custom
    events, prompts or tools; of a model's parameters only numbers and words of the provider. Names, tags, metadata and
    feedback, which you give, stay.
    """
    callers: bool = False
    """Record the line of your code that started each tree, in the root's metadata as `eventtree_caller`."""
    redact: Callable[[str], str] | None = None
    """A function from text to text, applied to every string before it reaches the disk;
    `eventtree.content.known_secrets()` makes one.
    """
    exit_timeout: float = Field(default=2.0, ge=0)
    """Seconds that the interpreter's exit may wait for delivery. The journal keeps what is left."""
    prices: Any = None
    """Your own prices: a table (a dict, or the path of a JSON or TOML file), or a function
    `(usage, model, provider, at)` that returns dollars, an object of them, or None. See `eventtree.pricing.table`.
    """
    tokenizer: Callable[[str], Any] | None = None
    """Counts what a model did not report: a function from a text to its tokens or their number."""
    strict: bool = False
    """Lets errors of the handler through. For tests."""
    bounds: Bounds = BOUNDS
    """How much of anything is kept: `Bounds(depth=12)`, `{"depth": 12}`, or `depth=12,items=500` in the environment."""

    @property
    def folder(self) -> str:
        """Where the journal lives: a path, or `:memory:`."""
        return self.journal or str(platformdirs.user_state_path("eventtree", appauthor=False))


def _switch(text: str) -> bool:
    return text.strip().lower() not in ("0", "false", "no", "off", "")


def _pairs(text: str) -> dict[str, str]:
    """`a=1, b=2` as a dict."""
    parts = (part.partition("=") for part in text.split(",") if part.strip())
    return {name.strip(): value.strip() for name, _, value in parts}


_FROM_ENVIRONMENT: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "journal": ("EVENTTREE_JOURNAL", str),
    "vendors": ("EVENTTREE_VENDORS", lambda text: tuple(part.strip() for part in text.split(",") if part.strip())),
    "enabled": ("EVENTTREE_ENABLED", _switch),
    "deliver": ("EVENTTREE_DELIVER", _switch),
    "content": ("EVENTTREE_CONTENT", _switch),
    "callers": ("EVENTTREE_CALLERS", _switch),
    "environment": ("EVENTTREE_ENVIRONMENT", str),
    "prices": ("EVENTTREE_PRICES", str),
    "bounds": ("EVENTTREE_BOUNDS", _pairs),
    "sample_rate": ("EVENTTREE_SAMPLE_RATE", str),
    "strict": ("EVENTTREE_STRICT", _switch),
}

_configured: dict[str, Any] = {}

test_journals: list[str] = []
"""Journals of the test servers that listen in this process. The newest takes the place of the user's state folder."""

checks: list[Callable[[Settings], object]] = []
"""Checks that `configure` runs besides those of types. A pipeline adds one: vendors and prices can be made of them."""


def configure(**settings: Any) -> None:
    """Set this process's defaults for handlers made afterwards; takes every field of `Settings`.

    A second call replaces the first; without arguments it goes back to the environment.

    Raises:
        ConfigError: a setting is unknown or has a wrong value; the old defaults stay.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    built = _build({**_environment(), **given})
    for check in checks:
        check(built)
    _configured.clear()
    _configured.update(given)


def resolve(**settings: Any) -> Settings:
    """The settings of one handler: its arguments, else `configure(...)`, else the environment."""
    given = {name: value for name, value in settings.items() if value is not None}
    return _build({**_environment(), **_configured, **given})


def _environment() -> dict[str, Any]:
    return {field: read(os.environ[name]) for field, (name, read) in _FROM_ENVIRONMENT.items() if os.environ.get(name)}


def _build(values: dict[str, Any]) -> Settings:
    for listed in ("vendors", "tags"):
        if isinstance(values.get(listed), str | BaseModel):  # one alone
            values[listed] = (values[listed],)
    if test_journals:
        values["journal"] = values.get("journal") or test_journals[-1]
    if isinstance(values.get("journal"), Path):
        values["journal"] = str(values["journal"])
    # EVENTTREE_ENABLED=0 is the operator's switch: it wins over what the code asks for.
    if not _switch(os.environ.get("EVENTTREE_ENABLED") or "1"):
        values["enabled"] = False
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        setting = ".".join(str(part) for part in first["loc"])
        model, what = (Bounds, "Bounds") if setting.startswith("bounds.") else (Settings, "Settings")
        raise ConfigError(setting, first["msg"], f"{what} are {', '.join(model.model_fields)}") from None
