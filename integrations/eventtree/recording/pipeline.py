"""What a handler brings to the recorder: its settings, its journal, its vendors, and how it makes objects plain."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cached_property
from typing import Any

from eventtree import config
from eventtree.content import Limits, Sanitizer
from eventtree.delivery.shipper import Shipper, shipper_of
from eventtree.event import JsonValue
from eventtree.journal import Journal, open_journal
from eventtree.pricing import Pricer
from eventtree.recording import caller
from eventtree.recording.callback_context import last_tree
from eventtree.vendors import Vendor, resolve_vendors

KNOWN_NAMES = 1024
SHORT_NAME = 200


sanitizers: weakref.WeakKeyDictionary[Journal, Sanitizer] = weakref.WeakKeyDictionary()
"""Journal → the sanitizer of its newest pipeline: what is recorded there without a pipeline passes the same one."""


class Names(dict[str, str]):
    """Names and tags as they are recorded: they come again with every run, so the short ones are remembered."""

    def __init__(self, write: Callable[[str], str]) -> None:
        """Know none; `write` makes one plain."""
        super().__init__()
        self._write = write

    def __missing__(self, name: str) -> str:
        """Make plain a name that is not known."""
        plain = self._write(name)
        if len(name) <= SHORT_NAME:
            if len(self) >= KNOWN_NAMES:
                self.clear()
            self[name] = plain
        return plain


def _check(settings: config.Settings) -> None:
    resolve_vendors(settings.vendors)
    if settings.prices is not None or settings.tokenizer is not None:
        Pricer.of(settings.prices, settings.tokenizer)


config.checks.append(_check)
configure = config.configure
"""Lives in config.py; imported from here, vendors and prices are checked too."""


class Pipeline:
    """One handler's way in. Made at construction, where every wrong setting shows."""

    def __init__(self, **settings: Any) -> None:
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
        self.sanitize = Sanitizer(Limits.of(self.settings.bounds), self.settings.redact)
        self.text: Callable[[str], str] = self.sanitize.text
        self.names = Names(self.sanitize.text)
        self.tags = self.plain_tags(self.settings.tags)
        self.vendors: tuple[Vendor, ...] = resolve_vendors(self.settings.vendors) if self.enabled else ()
        self.vendor_refs: tuple[dict[str, str], ...] = ()
        if self.enabled:
            self._connect()

    def _connect(self) -> None:
        salt = self.journal.salt if self.vendors else b""
        self.vendor_refs = tuple({"name": v.name, "fingerprint": v.fingerprint(salt)} for v in self.vendors)
        self.shipper.serve(self.vendors, self.settings)
        sanitizers[self.journal] = self.sanitize

    @cached_property
    def journal(self) -> Journal:
        """Where this pipeline records."""
        return open_journal(self.settings.folder)

    @cached_property
    def shipper(self) -> Shipper:
        """Who delivers what is recorded there."""
        return shipper_of(self.journal)

    def plain_text(self, value: Any) -> str:
        """A name or another short text, whatever the framework has in its place."""
        return self.names[value] if type(value) is str else self.sanitize.text(value)

    def plain_tags(self, tags: Any) -> list[str]:
        """Tags; what is no list of them is one tag."""
        if type(tags) is not list and type(tags) is not tuple:
            tags = self.sanitize(tags)
        if type(tags) is not list and type(tags) is not tuple:
            tags = [tags]
        return [self.names[tag] if type(tag) is str else self.sanitize.text(tag) for tag in tags]

    def plain_mapping(self, value: Any) -> dict[str, JsonValue]:
        """Metadata and the like; what is no mapping, or was cut to a text, stands in one."""
        plain = self.sanitize(value)
        return plain if type(plain) is dict else {"value": plain}

    def wake(self) -> None:
        """Make sure somebody delivers; cheap when somebody does."""
        if self.vendors:
            self.shipper.ensure()

    @property
    def last_tree_id(self) -> str | None:
        """Id of the tree opened last in this context."""
        return last_tree(self)
