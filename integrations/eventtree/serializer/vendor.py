"""The base class of every vendor: a frozen value with the host, the key, and the vendor's own format.

A vendor's `encode` turns one finished tree into items. The serializer packs items into requests, delivery sends those
and hands each answer to the vendor's `read_reply`. A vendor knows no journal, thread, retry or HTTP library, so that
adding one takes a single file.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

import pydantic_core
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, model_validator

from eventtree import config
from eventtree.config import SWITCH_HINT, first_sentence, switch
from eventtree.errors import ConfigError, complaint, did_you_mean
from eventtree.event import EventTree
from eventtree.kinds import JsonValue
from eventtree.record import BY_NAME, LOCAL
from eventtree.serializer.requests import Encoded, Item, Lookup, Request, Route, Verdict
from eventtree.tree.filter import judge_of

_OFFLINE = "_offline"

Feedback = Mapping[str, JsonValue]
"""A feedback record: its `key`, the `id` of the event or tree it is on, `tree`, `at` (ns), and optionally `score`,
`name`, `comment`, `correction`, `user` and `metadata`.
"""

ABOUT_ONE: Mapping[int, str] = dict.fromkeys((404, 405, 409, 410, 501), "bisect")
"""`Route.status_actions` of feedback. These statuses mean that its event is unknown, or that this edition takes no
feedback: the settings are right, so the vendor is not parked.
"""

if TYPE_CHECKING:
    Key = SecretStr | str
    Words = Sequence[str]
else:
    Key = SecretStr
    Words = tuple[str, ...]
"""Types of settings as they are stored; type checkers see the types of the arguments."""

NOT_IN_BASE = re.compile(r"[\s\x00-\x20\x7f?#{}\\]")
"""Characters that a `base_url` may not have."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def in_clear(key: Key) -> str:
    """A key in clear text."""
    return key if isinstance(key, str) else key.get_secret_value()


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is always this machine."""
    try:
        return host in LOOPBACK or ipaddress.ip_address(host).is_loopback
    except ValueError:  # no address
        return host.rstrip(".").rpartition(".")[2] == "localhost"


class Vendor(BaseModel):
    """Settings of one vendor, frozen. Arguments win over the environment names of the vendor's own SDK."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: ClassVar[str]
    """The vendor's name in `EVENTTREE_VENDORS`, `--vendor` and files: lower case, one word."""
    env: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Field name → names of environment variables; the first that is set counts."""
    default_url: ClassVar[str]
    """The hosted service, used without a `base_url`."""
    routes: ClassVar[Mapping[str, Route]]
    """Name in `Item.route` → the call that sends such items."""
    max_bytes: ClassVar[int] = 5_000_000
    """The vendor's limit for one request. Delivery halves larger ones, and shortens a lone event that is larger."""
    concurrency: ClassVar[int] = 4
    """Requests of one wave that delivery may send at the same time."""
    idempotent: ClassVar[bool] = True
    """Whether the vendor recognizes an event by its id, so that sending it twice is harmless."""
    accepts_updates: ClassVar[bool] = False
    """Whether an event can be changed after it was sent. Runs that end later than their tree need it."""
    accepts_parts: ClassVar[bool] = False
    """Whether the vendor accepts events under the id of a parent that it gets from another process, or never. Other
    vendors get such a part of a tree as a tree of its own.
    """
    feedback_in_trees: ClassVar[bool] = False
    """The vendor is told what people think of a run with its tree, and has no call for it afterwards: `encode` is given
    the feedback that was recorded before.
    """
    drop_hints: ClassVar[Mapping[str, str]] = {}
    """Reason in `Encoded.dropped` → what the user can do about it. It is logged once."""
    export_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings that `for_export` needs besides the fields' defaults."""
    needs_key: ClassVar[bool] = True
    """Whether sending needs a key."""
    secret_settings: ClassVar[frozenset[str]] = frozenset({"api_key"})
    """Settings that are never shown, pickled or put on the disk."""
    status_actions: ClassVar[Mapping[int, str]] = {}
    """HTTP status → what delivery does, where this vendor differs from delivery's table (`delivery/retry.py`)."""

    name: str = ""
    """The name in reports and cursors; defaults to `kind`. Two vendors of one kind need two names."""
    api_key: Key = SecretStr("")
    """The key. It is never written to the journal, a log or an error."""
    base_url: str = ""
    """The host, with the path before the vendor's routes."""
    keep: Callable[[EventTree], bool] | str | None = None
    """Which trees the vendor gets: a function, or words such as `status:error OR rate:0.05`. It replaces
    `Settings.keep`.
    """
    allow_plain_http: bool = False
    """Permit http:// to a host other than loopback, which sends the key in clear text."""

    def __init__(self, **settings: Any) -> None:
        """Check the settings.

        Raises:
            ConfigError: a setting is unknown, missing or wrong; the message names it.
        """
        try:
            super().__init__(**settings)
        except ValidationError as error:
            setting, problem = complaint(error)
            known = type(self).model_fields
            hint = (
                first_sentence(type(self), setting.partition(".")[0])
                or f"{did_you_mean(setting, known)}It takes {', '.join(known)}"
            )
            raise ConfigError(f"{type(self).__name__}.{setting or 'settings'}", problem, hint) from None

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, given: Any) -> Any:
        values = {k: v for k, v in dict(given).items() if v is not None}
        environment = {} if values.pop(_OFFLINE, False) else cls.env
        for setting, names in environment.items():
            if setting not in values:
                found = next(filter(None, (os.environ.get(name, "").strip() for name in names)), None)
                if found is not None:
                    values[setting] = found
        for setting in values.keys() & cls.model_fields.keys():
            if cls.model_fields[setting].annotation is bool:
                try:
                    values[setting] = switch(values[setting])
                except ValueError as error:
                    raise ConfigError(f"{cls.__name__}.{setting}", str(error), SWITCH_HINT) from None
        values.setdefault("name", cls.kind)
        if isinstance(values.get("api_key"), str):
            values["api_key"] = values["api_key"].strip()
        values["base_url"] = cls.normal_url(str(values.get("base_url") or cls.default_url).strip())
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        key = self.key
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise ConfigError(
                f"{type(self).__name__}.api_key", "it holds spaces or odd characters", "Copy it once more"
            )
        if not key and self.needs_key and not config.resolve().relay:  # a collector has the keys
            names = " or ".join(self.env.get("api_key", ()))
            raise ConfigError(f"{type(self).__name__}.api_key", "no key", f"Pass api_key=… or set {names}")
        if self.keep is not None:
            judge_of(self.keep, f"{type(self).__name__}.keep")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", self.name):
            raise ConfigError(f"{type(self).__name__}.name", f"{self.name!r} is no name", "Use letters, digits, _ . -")
        try:
            url = urlsplit(self.base_url)
            _ = url.port
        except ValueError as error:
            raise ConfigError(
                f"{type(self).__name__}.base_url", str(error), "Give https://host[:port][/path]"
            ) from None
        if url.username or url.password:
            raise ConfigError(f"{type(self).__name__}.base_url", "it holds credentials", "Pass the key as api_key=…")
        # Routes are appended and names in braces filled in: a query or a brace would end up in the middle.
        if NOT_IN_BASE.search(self.base_url):
            raise ConfigError(
                f"{type(self).__name__}.base_url", "it holds a query, a space or a brace", "Give https://host[/path]"
            )
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ConfigError(
                f"{type(self).__name__}.base_url", f"{self.base_url!r} is no URL", "Give https://host[/path]"
            )
        if url.scheme == "http" and not is_loopback(url.hostname) and self.secrets() and not self.allow_plain_http:
            raise ConfigError(
                f"{type(self).__name__}.base_url", "plain http would show the key to the network",
                "Use https, or allow_plain_http=True",
            )  # fmt: skip
        return self

    @property
    def key(self) -> str:
        """The key in clear text, for a header."""
        return in_clear(self.api_key)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the key. The unpickling process uses the key of its own environment."""
        settings = {name: getattr(self, name) for name in type(self).model_fields if name not in self.secret_settings}
        return _unpickled, (type(self), settings)

    @classmethod
    def normal_url(cls, url: str) -> str:
        """`url` as requests begin with it: without a slash at the end, with the version path."""
        return url.rstrip("/")

    @classmethod
    def for_export(cls, *, from_environment: bool = False, **settings: Any) -> Self:
        """A vendor for showing requests, not for sending them: without a key, with the default host and settings.

        With `from_environment`, the host and settings are those of a delivery in this environment.
        """
        left_out = ("api_key",) if from_environment else cls.env.keys() & cls.model_fields.keys()
        defaults = {setting: cls.model_fields[setting].default for setting in left_out}
        if not from_environment:
            defaults["base_url"] = cls.default_url
        return cls(**{**defaults, "api_key": "none", **cls.export_settings, **settings})

    def auth(self) -> dict[str, str]:
        """The headers with the key; none without a key."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def secrets(self) -> tuple[str, ...]:
        """Texts that must never be shown. They are masked in answers too, since a vendor may echo them."""
        return (self.key,) if self.key else ()

    def compresses(self, route: str) -> bool:
        """Whether the vendor accepts gzip on a route: then delivery compresses its requests."""
        return False

    def identity(self) -> tuple[str, ...]:
        """The destination without the key: vendors with the same identity send to the same place."""
        return (self.kind, self.base_url)

    def fingerprint(self, salt: bytes) -> str:
        """16 hex digits that identify destination and key without showing them.

        The prefix `local-` means that the host is this machine. Without a salt, as in a collector's journal, a vendor
        is identified by its name alone: trees that wait for it may be sent with any settings.
        """
        if not salt:
            return BY_NAME
        parts = (*self.identity(), *self.secrets())
        digest = hashlib.blake2b("\0".join(parts).encode(), key=salt[:64], digest_size=8).hexdigest()
        return f"{LOCAL}{digest}" if is_loopback(urlsplit(self.base_url).hostname or "") else digest

    def lookups(self) -> tuple[Lookup, ...]:
        """The calls whose answers fill the `{names}` in this vendor's paths."""
        return ()

    def lookup_of(self, name: str) -> Lookup | None:
        """The call whose answer fills `{name}`. A vendor with values in its names (`{kind:VALUE}`) makes it here."""
        return next((lookup for lookup in self.lookups() if lookup.name == name), None)

    def encode(self, tree: EventTree) -> Encoded:
        """Turn a tree into items. Every event is in an item, or has its reason in `dropped`.

        Pure: delivery may encode the same tree again, after a restart, and expects the same keys.
        """
        raise NotImplementedError

    def encode_update(self, tree: EventTree, ended: Collection[str]) -> tuple[Item, ...]:
        """Turn late ends of events into items, for a vendor that `accepts_updates`. Pure.

        `tree` is the whole tree now, `ended` are the ids of events that were sent before they had ended. The items
        count for no event, since those events are delivered already.
        """
        return ()

    def encode_feedback(self, feedback: Feedback, tree: EventTree | None, learned: Mapping[str, str]) -> Encoded:
        """Turn one feedback into items that count for no event. Pure; its tree has been sent before.

        `tree` is None if the journal no longer has it; `learned` has the values learned from earlier verdicts. The keys
        of the items begin with the feedback's own `key`. Without items, `dropped` may have the reason under that key;
        the default is `no_place`.
        """
        return Encoded(())

    def advice(self) -> tuple[str, ...]:
        """Warnings for `eventtree doctor` about settings that are allowed, but may be a mistake."""
        return ()

    def words_in(self, body: bytes) -> bytes:
        """The part of an answer's body that is meant for people, as text; by default all of it."""
        return body

    def read_reply(self, request: Request, status: int, body: bytes) -> Verdict | None:
        """Read an answer's verdict on each item. None means that the status alone decides, by delivery's table."""
        return self.read_success(request, json_in(body)) if 200 <= status < 300 else None

    def read_success(self, request: Request, reply: JsonValue) -> Verdict:
        """Read the verdict of a 2xx; by default all items are taken. `reply` is None if the body is not JSON."""
        return Verdict()


def _unpickled(vendor: type[Vendor], settings: dict[str, Any]) -> Vendor:
    return vendor(**settings)


def json_in(body: bytes) -> JsonValue:
    """The JSON of an answer's body; None if it is not JSON."""
    try:
        return pydantic_core.from_json(body)
    except ValueError:
        return None


def id_in(reply: JsonValue) -> str | None:
    """The `id` in a reply, if it can be used in a path; else None, so that it is not remembered."""
    found = reply.get("id") if isinstance(reply, dict) else None
    return found if isinstance(found, str) and re.fullmatch(r"[A-Za-z0-9_.:~-]{1,200}", found) else None


def is_null(value: JsonValue) -> bool:
    """Whether JSON has null for a value: None, or a float that it has no number for (NaN, infinity)."""
    return value is None or (type(value) is float and not math.isfinite(value))


def without_nulls(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping without the keys whose value is None, or a float that JSON would write as null (NaN, infinity).

    Most vendors refuse null where they allow absence.
    """
    found = {}
    for key, value in fields.items():
        if value is not None and (type(value) is not float or math.isfinite(value)):
            found[key] = value  # noqa: PERF403  (a comprehension is a function that is made and called)
    return found


@cache
def own_version() -> str | None:
    """The version of this package, where it is installed."""
    try:
        return version("eventtree")
    except PackageNotFoundError:
        return None
