"""Settings of a handler: one frozen object, from its arguments, else `configure(...)`, else the environment.

Each field of `Settings` says what it does. The settings in `FROM_ENVIRONMENT` can also be set without code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, Unpack

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from eventtree import diagnostics
from eventtree.errors import ConfigError, complaint, did_you_mean
from eventtree.record import MAX_DEPTH

if TYPE_CHECKING:
    from eventtree.serializer.vendor import Vendor

MEMORY = ":memory:"
"""As `journal=`: keep the journal in memory, bounded, gone with the process."""


ON = ("on", "1", "true", "yes", "enabled")
OFF = ("off", "0", "false", "no", "none", "disabled")
"""The words of a switch. Any other is an error: a misspelt `off` must not mean on."""
SWITCH_HINT = f"Write {', '.join(ON)}; or {', '.join(OFF)}"


def switch(value: Any) -> Any:
    """A switch's word as true or false. A value that is no text is returned unchanged."""
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if word not in ON and word not in OFF:
        raise ValueError(f"{value[:40]!r} is neither on nor off")
    return word in ON


Switch = Annotated[bool, BeforeValidator(switch)]


class Bounds(BaseModel):
    """How much eventtree keeps at most. A cut is marked in the value, or counted in the report."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    journal_bytes: int = Field(default=4 << 30, ge=1)
    """Size of all logs together. Beyond it no new tree is recorded, only counted as `journal_full`."""
    memory_bytes: int = Field(default=64 << 20, ge=1)
    """The same for a journal in memory; its trees are counted as `memory_full`."""
    held_bytes: int = Field(default=64 << 20, ge=0)
    """Records that wait in memory while the disk refuses them. Beyond half of it no new tree is recorded."""
    kept_bytes: int = Field(default=256 << 20, ge=0)
    """Size of all logs together. Beyond it, logs whose trees are settled at every vendor are removed, oldest first."""
    kept_days: float = Field(default=7, ge=0)
    """Age at which settled logs are removed. A log with events that wait for a vendor is never removed by age."""
    open_runs: int = Field(default=100_000, ge=1)
    """Open runs of a process. Beyond it the oldest are forgotten, and arrive as `incomplete`."""
    open_hours: float = Field(default=24, gt=0)
    """Age at which open runs are forgotten too."""
    # The next four have a minimum: with less, a shortened message would no longer be a message.
    value_bytes: int = Field(default=1 << 20, ge=1_000)
    """One value of an event (its inputs, its outputs, …) as JSON."""
    depth: int = Field(default=24, ge=3, le=MAX_DEPTH)
    """Levels of lists and objects within each other, never more than parsers of JSON accept."""
    items: int = Field(default=10_000, ge=10)
    """Entries of one list or object."""
    nodes: int = Field(default=100_000, ge=20)
    """Entries of all lists and objects of one value."""
    reply_bytes: int = Field(default=1 << 20, ge=1)
    """A vendor's answer, as received and again as decompressed. The rest is not read."""


BOUNDS = Bounds.model_construct()
"""The defaults."""


class Settings(BaseModel):
    """The settings of one handler. All have defaults; unknown ones are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True, defer_build=True
    )

    vendors: tuple[Any, ...] = ()
    """Where events go: values such as `HoneyHive(project="rag")`, or names (`honeyhive,braintrust`) whose settings come
    from the environment. A key in the environment alone switches no vendor on.
    """
    journal: str = ""
    """Folder of the journal. `:memory:` keeps it in memory, bounded, gone with the process; empty is the user's state
    folder.
    """
    session: str | None = None
    """Session of every tree, where no `eventtree.session` names one."""
    user: str | None = None
    """User of every tree, where no `eventtree.session` names one."""
    tags: tuple[str, ...] = ()
    """Tags of every tree."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Metadata of every tree."""
    environment: str | None = None
    """Label of the deployment: `production`, …"""
    sample_rate: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)
    """Share of trees to record, 0 to 1. The report counts the others."""
    keep: Callable[[Any], bool] | str | None = None
    """Which trees vendors get: a function from `EventTree` to true or false, or words such as
    `status:error OR cost>0.05 OR feedback OR rate:0.05 OR "a text"`. It is asked once a tree is complete. The other
    trees stay in the journal, are counted as `sampled`, and can be sent later with `eventtree ship --replay`.
    """
    release: str | None = None
    """Version of the app; by default as the platform states it (Heroku, Vercel, Render, Railway, Cloud Run, …)."""
    service: str | None = None
    """Name of the app, where several share one tree; by default `OTEL_SERVICE_NAME`, or the platform's name for it."""
    enabled: Switch = True
    """`0` in the environment switches all recording off, whatever the code asks for."""
    deliver: Switch = True
    """Off leaves sending to `eventtree ship --follow`, in a process of its own."""
    relay: str = ""
    """URL by which a collector gets this journal, to ship it with its own vendors and keys: of NATS JetStream
    (`nats://`, `tls://`), Redis (`redis://`, `rediss://`) or the collector itself (`http://`, `https://`). This process
    then ships nothing, and its vendors need no key: their names choose among the collector's.
    """
    durable: Literal["process", "engine"] = "process"
    """With `engine`, the end of a tree waits until the relay's engine has acknowledged it, a second at most; the report
    counts trees without it as `unreplicated`. With `process`, records survive the process, but not the machine.
    """
    content: Switch = True
    """Off records structure, times, tokens and cost only: no inputs, outputs, messages of errors, contents of custom
    events, prompts or tools; of a model's parameters only numbers and the provider's own words. Names, tags, metadata
    and feedback, which your code chooses, stay.
    """
    callers: Switch = False
    """Record the line of your code that started each tree, in the root's metadata as `eventtree_caller`."""
    redact: Callable[[str], str] | None = None
    """A function from text to text, applied to every string before it reaches the disk, keys of dicts too;
    `eventtree.content.known_secrets()` makes one.
    """
    exit_timeout: float = Field(default=2.0, ge=0)
    """Seconds that the interpreter's exit may wait for delivery. The journal keeps what is left."""
    prices: Any = None
    """Your own prices: a table (a dict, or the path of a JSON or TOML file), or a function
    `(usage, model, provider, at)` that returns dollars, an object of them, or None. See `eventtree.pricing.table`.
    """
    tokenizer: Callable[[str], Any] | None = None
    """Counts tokens that a model did not report: a function from a text to its tokens or their number."""
    strict: Switch = False
    """Raises errors of the handler instead of counting them. For tests."""
    bounds: Bounds = BOUNDS
    """Upper limits: `Bounds(depth=12)`, `{"depth": 12}`, or `depth=12,items=500` in the environment."""

    @property
    def folder(self) -> str:
        """The journal's place: a path, or `:memory:`."""
        if self.journal:
            return self.journal
        import platformdirs

        return str(platformdirs.user_state_path("eventtree", appauthor=False))


class HandlerSettings(TypedDict, total=False):
    """The fields of `Settings` as arguments, for editors and type checkers. None means not given."""

    vendors: Sequence[Vendor | str] | Vendor | str | None
    journal: str | Path | None
    session: str | None
    user: str | None
    tags: Sequence[str] | str | None
    metadata: Mapping[str, Any] | None
    environment: str | None
    sample_rate: float | None
    keep: Callable[[Any], bool] | str | None
    release: str | None
    service: str | None
    enabled: bool | None
    deliver: bool | None
    relay: str | None
    durable: Literal["process", "engine"] | None
    content: bool | None
    callers: bool | None
    redact: Callable[[str], str] | None
    exit_timeout: float | None
    prices: Mapping[str, Any] | str | Path | Callable[..., Any] | None
    tokenizer: Callable[[str], Any] | None
    strict: bool | None
    bounds: Bounds | Mapping[str, float] | None


def _pairs(text: str) -> dict[str, str]:
    """`a=1, b=2` as a dict."""
    parts = (part.partition("=") for part in text.split(",") if part.strip())
    return {name.strip(): value.strip() for name, _, value in parts}


PREFIX = "EVENTTREE_"
SWITCHES = frozenset({"enabled", "deliver", "content", "callers", "strict"})
TEXTS = ("journal", "relay", "durable", "environment", "prices", "sample_rate", "keep", "release", "service")
FROM_ENVIRONMENT: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(TEXTS, str),
    **dict.fromkeys(SWITCHES, switch),
    "vendors": lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
    "bounds": _pairs,
}
"""Setting that has a variable → how the variable's text becomes a value."""


def variable(field: str) -> str:
    """The environment's variable of a setting."""
    return PREFIX + field.upper()


PLATFORMS: Mapping[str, tuple[str, ...]] = {
    "release": (
        "HEROKU_SLUG_COMMIT", "VERCEL_GIT_COMMIT_SHA", "RENDER_GIT_COMMIT", "RAILWAY_GIT_COMMIT_SHA", "K_REVISION",
        "AWS_LAMBDA_FUNCTION_VERSION", "FLY_IMAGE_REF", "DD_VERSION", "SENTRY_RELEASE", "LANGFUSE_RELEASE",
    ),
    "service": (
        "OTEL_SERVICE_NAME", "DD_SERVICE", "K_SERVICE", "AWS_LAMBDA_FUNCTION_NAME", "HEROKU_APP_NAME",
        "RENDER_SERVICE_NAME", "RAILWAY_SERVICE_NAME", "FLY_APP_NAME", "WEBSITE_SITE_NAME",
    ),
}  # fmt: skip
"""Setting → variables of platforms and other tools that are read where it is not set."""
READ_ELSEWHERE = frozenset({
    *("EVENTTREE_OTLP_API_KEY", "EVENTTREE_OTLP_FLAVOR", "EVENTTREE_OTLP_SCORES"),
    *("EVENTTREE_RELAY_CREDS", "EVENTTREE_RELAY_TOKEN", "EVENTTREE_RELAY_USER", "EVENTTREE_RELAY_CA"),
    *("EVENTTREE_RELAY_CERT", "EVENTTREE_RELAY_KEY", "EVENTTREE_RELAY_MONITOR"),
})  # fmt: skip
"""Variables that vendors, relays and collectors read themselves when they connect: no setting holds a secret."""
VARIABLES = READ_ELSEWHERE.union(map(variable, FROM_ENVIRONMENT))
LIKE = 0.65
"""Similarity (of `difflib`) from which on an unknown variable counts as a misspelt one."""

_configured: dict[str, Any] = {}
_warned: set[str] = set()
_generation = 0

test_journals: list[str] = []
"""Journals of the test servers that listen in this process. The newest takes the place of the user's state folder."""

checks: list[Callable[[Settings], object]] = []
"""Checks that `configure` runs after those of types. The pipeline adds one: vendors and prices can be built."""


def configure(**settings: Unpack[HandlerSettings]) -> None:
    """Set this process's defaults for handlers made afterwards; takes every field of `Settings`.

    A second call replaces the first; without arguments it goes back to the environment.

    Raises:
        ConfigError: a setting is unknown or has a wrong value; the old defaults stay.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if given:
        built = _build(given)
        for check in checks:
            check(built)
    _configured.clear()
    _configured.update(given)
    global _generation
    _generation += 1


def generation() -> tuple[Any, ...]:
    """A value that changes with the defaults: a handler built under another value is out of date."""
    return (_generation, test_journals[-1:], *map(os.environ.get, ("EVENTTREE_JOURNAL", "EVENTTREE_VENDORS")))


def is_off() -> bool:
    """Whether all recording is switched off, by the operator or by `configure(enabled=False)`."""
    return os.environ.get("EVENTTREE_ENABLED", "").strip().lower() in OFF or not switch(
        _configured.get("enabled", True)
    )


def resolve(**settings: Unpack[HandlerSettings]) -> Settings:
    """The settings of one handler: its arguments, else `configure(...)`, else the environment.

    Raises:
        ConfigError: a setting or a variable is unknown or has a wrong value.
    """
    return _build({**_configured, **{name: value for name, value in settings.items() if value is not None}})


def _build(given: Mapping[str, Any]) -> Settings:
    environment = _environment()
    _look_for_misspelt()
    values = {**environment, **given}
    for name, variables in PLATFORMS.items():
        if values.get(name) is None:
            values[name] = next(filter(None, map(os.environ.get, variables)), None)
    for listed in ("vendors", "tags"):
        if isinstance(values.get(listed), str | BaseModel):  # one alone
            values[listed] = (values[listed],)
    if test_journals:
        values["journal"] = values.get("journal") or test_journals[-1]
    if isinstance(values.get("journal"), Path):
        values["journal"] = str(values["journal"])
    # EVENTTREE_ENABLED=0 is the operator's switch: it wins over what the code asks for.
    if environment.get("enabled") is False:
        values["enabled"] = False
    try:
        return Settings(**values)
    except ValidationError as error:
        raise _wrong(error, environment.keys() - given.keys()) from None


def _environment() -> dict[str, Any]:
    """The settings of the environment. Also a variable that an argument overrides is read: a wrong one is an error."""
    found: dict[str, Any] = {}
    for field, read in FROM_ENVIRONMENT.items():
        text = os.environ.get(variable(field), "")
        if text.strip() or (text and read is switch):  # a blank switch is an error: was `off` meant?
            try:
                found[field] = read(text.strip() or text)  # a file of variables may end its lines in CR LF
            except ValueError as error:
                raise ConfigError(variable(field), str(error), SWITCH_HINT) from None
    return found


def _look_for_misspelt() -> None:
    """Refuse a variable that resembles one of ours: without it, contents might be recorded that it should keep out."""
    for name in os.environ:
        if not name.upper().startswith(PREFIX) or name in VARIABLES or not os.environ[name]:
            continue
        word = name[len(PREFIX) :].lower()
        if word in Settings.model_fields and word not in FROM_ENVIRONMENT:
            raise ConfigError(name, "this setting has no variable", f"Set it in code: {word}=…")
        from difflib import get_close_matches

        meant = next((part for part in word.split("_") if part in FROM_ENVIRONMENT), None)
        close = [meant] if meant else get_close_matches(word, FROM_ENVIRONMENT, 1, LIKE)
        if close:
            raise ConfigError(name, "there is no such variable", f"Did you mean {variable(close[0])}?")
        if name not in _warned:
            _warned.add(name)
            diagnostics.logger.warning("%s is no variable of eventtree's: it does nothing", name)


def _wrong(error: ValidationError, from_environment: Collection[str]) -> ConfigError:
    where, problem = complaint(error)
    setting, _, inner = where.partition(".")
    model, name, what = (Bounds, inner, "Bounds") if setting == "bounds" and inner else (Settings, setting, "Settings")
    if name in SWITCHES:
        hint = SWITCH_HINT
    elif not (hint := first_sentence(model, name)):
        hint = f"{did_you_mean(name, model.model_fields)}{what} are {', '.join(model.model_fields)}"
    if setting in from_environment:
        where = f"{where} ({variable(setting)})"
    return ConfigError(where, problem, hint)


def first_sentence(model: type[BaseModel], name: str) -> str:
    """The first sentence of a setting's docstring; empty where the setting or the source file does not exist."""
    import inspect  # only where something is wrong: it is slow
    import re

    docstring = rf'^    {name}: [^\n]*\n    """(.+?)\.?("""|(?<=\.)\s)'
    owner = next((one for one in model.__mro__ if name in inspect.get_annotations(one)), model)
    try:
        found = re.search(docstring, inspect.getsource(owner), re.M | re.S)
    except (OSError, TypeError):
        return ""
    return " ".join(found[1].replace("`", "").split()) if found else ""
