"""A handler's pipeline: its settings, its journal, its vendors, and its sanitizer, for the recorder."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from eventtree import config, diagnostics
from eventtree.config import HandlerSettings
from eventtree.content import Sanitizer, items_of
from eventtree.content.fast_path import LONGEST_WRITTEN, NODE, as_it_is
from eventtree.kinds import JsonValue
from eventtree.record import encode, encoder
from eventtree.recording import caller
from eventtree.recording.callback_context import last_tree
from eventtree.remembered import Remembered
from eventtree.usage.collect import NAMES_OF_USAGE, WORDS_OF_USAGE

if TYPE_CHECKING:
    from eventtree.delivery.shipper import Shipper
    from eventtree.journal import Journal
    from eventtree.recording.texts import Shared
    from eventtree.relay.relay import Relay
    from eventtree.vendors import Vendor

KNOWN_NAMES = 1024
SHORT_NAME = 200


sanitizers: weakref.WeakKeyDictionary[Journal, Sanitizer] = weakref.WeakKeyDictionary()
"""Journal → the sanitizer of its newest pipeline, also for records that are made without a pipeline."""


OWN = frozenset({"kind", "status", "framework"})
"""Parts of a record whose values are our own words."""
TEXTS = frozenset({"model", "provider", "base_url", "name", "session", "user"})
"""Parts of a record that are always text."""
MAPPINGS = frozenset({"metadata", "params", "usage", "error"})
"""Parts of a record that are always objects."""
KEY = re.compile(r"[A-Za-z_][\w.:-]{0,63}")
"""Pattern of a provider's name for a count."""
NO_CONTENT = "[content is off]"
"""Stands for an error's message where contents are not recorded."""
WORDS = frozenset({
    *("auto", "none", "any", "required", "minimal", "low", "medium", "high", "xhigh", "max", "default", "standard"),
    *("flex", "priority", "batch", "concise", "detailed", "disabled", "enabled", "text", "audio", "json_object"),
})  # fmt: skip
"""Values of a model's parameters that are recorded even without contents; others may quote the request."""


QUOTES = frozenset({"ls_stop", "ls_structured_output_format"})
"""Keys that LangChain adds to a run's metadata and that quote the request."""


class Prepared(NamedTuple):
    """A part of a record that `Pipeline.part` has made before, because runs share it or it had to wait."""

    value: JsonValue


class Figures(dict[str, Any]):
    """Usage as read by `eventtree.usage.collect`: plain and small already, so it only has to be redacted."""


class Params(dict[str, Any]):
    """Parameters under names of frameworks' and providers', from a table of ours: only their values pass a redactor."""


def _settings(params: dict[str, JsonValue]) -> JsonValue:
    return {key: one for key, one in params.items() if is_figure(one) or (type(one) is str and one in WORDS)}


def _figures(value: JsonValue) -> JsonValue:
    if type(value) is dict:
        return {key: one for key, one in value.items() if is_figure(one)}
    return value if is_figure(value) else None


def _counts(value: JsonValue, name: str = "") -> JsonValue:
    if type(value) is dict:
        kept = {key: _counts(one, key) for key, one in value.items() if key in WORDS_OF_USAGE or type(one) is not str}
        return {key: one for key, one in kept.items() if one is not None and KEY.fullmatch(key)}
    if type(value) is list:
        return [_counts(one, name) for one in value]
    return value if is_figure(value) or name in NAMES_OF_USAGE else None


def is_figure(value: JsonValue) -> bool:
    """Whether a value is a number, a bool, or the text of an amount of money."""
    if type(value) in (int, float, bool):
        return True
    from eventtree.pricing.stated import money

    return money(value) is not None


WITHOUT_CONTENT: Mapping[str, Callable[[Any], JsonValue]] = {
    "params": _settings,
    "usage": _counts,
    "value": _figures,
    "error": lambda error: {**error, "message": NO_CONTENT},
    "metadata": lambda about: {key: one for key, one in about.items() if key not in QUOTES},
}
"""Part of a record → function that keeps only its values that are recorded without contents."""


def _check(settings: config.Settings) -> None:
    if settings.relay:
        from eventtree.relay.port import named_vendors, port_at

        named_vendors(settings.vendors)
        port_at(settings.relay)
    else:
        from eventtree.vendors import resolve_vendors

        resolve_vendors(settings.vendors)
    if settings.prices is not None or settings.tokenizer is not None:
        from eventtree.pricing.pricer import Pricer

        Pricer.of(settings.prices, settings.tokenizer)
    _check_keep(settings)


def _check_keep(settings: config.Settings) -> None:
    if settings.keep is not None:
        from eventtree.tree.filter import judge_of

        judge_of(settings.keep)


config.checks.append(_check)
configure = config.configure
"""`config.configure`; imported from here, it also checks vendors and prices."""


class Pipeline:
    """One handler's way to the recorder. It is made with the handler, so a wrong setting raises there."""

    def __init__(self, **settings: Unpack[HandlerSettings]) -> None:
        """Resolve settings; open the journal; hand the vendors to the journal's shipper, which starts to deliver.

        Raises:
            ConfigError: a setting is wrong or missing.
            JournalError: the journal's folder cannot be used.
        """
        self.settings = config.resolve(**settings)
        self.enabled = self.settings.enabled
        self.content = self.settings.content
        if self.settings.callers:
            caller.want()
        self.last_tree: str | None = None
        self.open_runs = self.settings.bounds.open_runs
        self.sanitize = Sanitizer(self.settings.bounds, self.settings.redact)
        self.is_open = self.content and self.settings.redact is None
        """Whether plain and small values are recorded unchanged."""
        self.is_ample = self.is_open and self.sanitize.room >= NODE * LONGEST_WRITTEN
        """Whether the bounds are wide enough for all of these values."""
        self.most_bytes = self.sanitize.bounds.value_bytes
        self.dumps = encoder()
        # Bound here, because calling an object that is not a function is slower.
        self.plain: Callable[[Any], JsonValue] = self.sanitize.__call__
        self.text: Callable[[str], str] = self.sanitize.text
        self.names = Remembered(KNOWN_NAMES, self.sanitize.text, longest=SHORT_NAME)
        """Name or tag → its recorded form, since every run repeats them."""
        self.plain_usage = Sanitizer(self.settings.bounds, self.settings.redact, WORDS_OF_USAGE)
        self.tags = self.plain_tags(self.settings.tags)
        given = {key: getattr(self.settings, key) for key in ("session", "user", "environment", "release", "service")}
        self.root = {key: plain for key, name in given.items() if name and (plain := self.part("name", name))}
        """Fields of every root's record, unless a session around it sets others."""
        self.relay: Relay | None = None
        self.vendors: tuple[Vendor, ...] = ()
        self.vendor_refs: tuple[dict[str, str], ...] = ()
        _check_keep(self.settings)
        if self.enabled:
            self._connect()

    def _connect(self) -> None:
        sanitizers[self.journal] = self.sanitize
        if self.settings.relay:
            self._relay()
            return
        from eventtree.vendors import resolve_vendors

        self.vendors = resolve_vendors(self.settings.vendors)
        salt = self.journal.salt if self.vendors else b""
        self.vendor_refs = tuple({"name": v.name, "fingerprint": v.fingerprint(salt)} for v in self.vendors)
        self.shipper.serve(self.vendors, self.settings)

    def _relay(self) -> None:
        """Leave delivery to a collector: vendors are names, and the shipper ships nothing."""
        from eventtree.relay.port import named_vendors, port_at
        from eventtree.relay.relay import relay_of

        port_at(self.settings.relay)
        self.vendor_refs = named_vendors(self.settings.vendors)
        self.shipper.serve((), self.settings.model_copy(update={"deliver": False}))
        self.relay = relay_of(self.journal, self.settings.relay, self.settings)
        self.relay.ensure()

    def ended(self) -> None:
        """Wait for the acknowledgement of a tree whose root has closed, if `durable` is "engine"."""
        if self.relay is not None and self.settings.durable == "engine" and not self.relay.drain():
            diagnostics.unreplicated += 1

    @cached_property
    def journal(self) -> Journal:
        """The journal of this pipeline."""
        from eventtree.journal import open_journal

        return open_journal(self.settings.folder)

    @cached_property
    def shipper(self) -> Shipper:
        """The shipper of the journal."""
        from eventtree.delivery.shipper import shipper_of

        return shipper_of(self.journal)

    def plain_tags(self, tags: Any) -> list[JsonValue]:
        """The plain tags. Any value but a list is a single tag."""
        if type(tags) is not list:
            found = items_of(tags)
            tags = [tags] if found is None else found
        plain = []
        for tag in tags:
            plain.append(self.names[tag] if type(tag) is str else self.part("name", tag))  # noqa: PERF401  (one tag)
        return plain

    def add(self, entry: dict[str, JsonValue], given: Mapping[str, Any]) -> dict[str, JsonValue]:
        """Add parts by name to a record, ready for the disk, and return the record; None is left out.

        Every value that is not a constant, id or clock of ours gets into a record here, or by `sanitize` for inputs and
        outputs: nothing else redacts, bounds or leaves out contents.
        """
        for name, value in given.items():
            if type(value) is str and name in TEXTS:
                entry[name] = self.names[value]
            elif value is not None:
                entry[name] = value.value if type(value) is Prepared else self.part(name, value)
        return entry

    def part(self, name: str, value: Any) -> JsonValue:
        """A part of a record, made plain."""
        kind = type(value)
        if kind is Figures:
            if self.is_open:
                return value
            value = dict(value)
        if name in TEXTS:
            return self.names[value] if kind is str else self.text(value)
        if kind is bool or name in OWN:
            return value
        if kind is Params:
            made: Any = {key: self.plain(one) for key, one in value.items()}
        else:
            plain = self.plain_usage if name == "usage" else self.plain
            made = plain(value)
        if type(made) is not dict and name in MAPPINGS:
            made = {name: made}
        return made if self.content or name not in WITHOUT_CONTENT else WITHOUT_CONTENT[name](made)

    def about(self, metadata: Any) -> JsonValue:
        """The metadata of a run's open; usual ones are only encoded."""
        found = as_it_is(metadata) if self.is_ample and type(metadata) is dict else None
        return self.part("metadata", metadata) if found is None else found

    def fitted(self, payload: bytes, entry: dict[str, JsonValue], shared: Shared | None = None) -> bytes:
        """A record as JSON, each of its parts cut to the bounds if the `payload` is longer than `most_bytes`.

        Encoding a record is the quickest way to measure its parts, so they are not measured before.
        """
        if shared is not None:
            if len(payload) + shared.left_out <= self.most_bytes:
                return payload
            shared.undo()
        return encode({name: self.sanitize.fitted(part) for name, part in entry.items()})

    def wake(self) -> None:
        """Make sure that delivery, or the relay, is running. Cheap when it is."""
        if self.vendors:
            self.shipper.ensure()
        if self.relay is not None:
            self.relay.ensure()

    @property
    def last_tree_id(self) -> str | None:
        """Id of the tree that opened last in this context."""
        return last_tree(self)
