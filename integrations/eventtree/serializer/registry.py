"""Vendors by name, for settings, commands and the environment. A vendor's module is imported when it is named.

A name is one of ours (`braintrust`), an entry point's in the group `eventtree.vendors`, or `package.module:Class`.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from eventtree import diagnostics
from eventtree.errors import ConfigError, EventTreeError, did_you_mean
from eventtree.serializer.vendor import Vendor

VENDORS = {
    "honeyhive": "HoneyHive",
    "humanloop_v5": "HumanloopV5",
    "humanloop_v4": "HumanloopV4",
    "braintrust": "Braintrust",
    "nebuly": "Nebuly",
    "otlp": "OTLP",
}
"""Name in settings and commands, which is that of the module in `eventtree.vendors`, → class."""
GROUP = "eventtree.vendors"
"""Group of entry points of packages with vendors; an entry point's name is the vendor's `kind`."""
NEEDED = ("kind", "default_url", "routes")
"""Class attributes that every vendor must have."""


def vendor_class(kind: str) -> type[Vendor]:
    """The class of a vendor by its name.

    Raises:
        ConfigError: no vendor has that name, or its code cannot be loaded; then the message has its line.
    """
    text = kind.strip()
    if ":" in text:
        return _loaded(text, EntryPoint("", text, GROUP))
    known = text.lower().replace("-", "_")
    if known in VENDORS:
        found: type[Vendor] = getattr(importlib.import_module(f"eventtree.vendors.{known}"), VENDORS[known])
        return found
    foreign = foreign_vendors()
    entry = foreign.get(text) or foreign.get(known)
    if entry is None:
        every = (*VENDORS, *foreign)
        hint = f"{did_you_mean(known, every)}Known are {', '.join(every)}, and any package.module:Class"
        raise ConfigError("vendors", f"no vendor is called {kind!r}", hint)
    return _loaded(entry.value, entry)


def foreign_vendors() -> dict[str, EntryPoint]:
    """Kind → vendor of another package: installed entry points, and classes that `EVENTTREE_VENDORS` names."""
    found = {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in VENDORS}
    for name in os.environ.get("EVENTTREE_VENDORS", "").split(","):
        if ":" in name:
            entry = EntryPoint("", name.strip(), GROUP)
            found.setdefault(_loaded(name.strip(), entry).kind, entry)
    return found


def is_known(kind: str) -> bool:
    """Whether a vendor has this name, so that its settings can come from the environment."""
    return kind in VENDORS or kind in foreign_vendors()


def kind_of(name: str) -> str:
    """The vendor's name in the journal; `package.module:Class` is resolved, any other name unchanged."""
    return vendor_class(name).kind if ":" in name else name


def _loaded(name: str, entry: EntryPoint) -> type[Vendor]:
    try:
        found = entry.load()
    except Exception as error:  # code of others runs here
        raise ConfigError(
            "vendors", f"{name} cannot be loaded: {diagnostics.described(error)}", "Correct it"
        ) from error
    vendor = vendor_of(found, name, entry.name)
    if vendor.kind in VENDORS and vendor.__module__ != f"eventtree.vendors.{vendor.kind}":
        raise ConfigError(
            "vendors", f"{name} takes the name {vendor.kind!r} of one of ours", "Give its kind another name"
        )
    return vendor


def vendor_of(found: Any, name: str, kind: str = "") -> type[Vendor]:
    """Check that an object found by `name` is a vendor's class, of the `kind` if one is given.

    Raises:
        ConfigError: it is none, or has no valid kind.
    """
    if not (isinstance(found, type) and issubclass(found, Vendor)):
        raise ConfigError("vendors", f"{name} is no vendor", "Name a class made from eventtree.vendors.Vendor")
    lacking = [one for one in NEEDED if not hasattr(found, one)]
    if lacking:
        raise ConfigError("vendors", f"{name} has no {' and no '.join(lacking)}", "Every vendor's class needs it")
    if kind not in ("", found.kind) or not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", found.kind):
        hint = "Let it be one word in lower case, and the entry point's name"
        raise ConfigError("vendors", f"the kind of {name} is {found.kind!r}", hint)
    return found


def resolve_vendors(given: Iterable[Any]) -> tuple[Vendor, ...]:
    """Vendor objects unchanged, names as vendors with settings from the environment.

    Raises:
        ConfigError: a name is unknown, a setting is missing, or two vendors have one name.
    """
    found: dict[str, Vendor] = {}
    for entry in given:
        vendor = entry if isinstance(entry, Vendor) else _from_name(entry)
        if found.get(vendor.name, vendor) != vendor:
            hint = "Give each its own: name='…'"
            raise ConfigError("vendors", f"two vendors are called {vendor.name!r}", hint)
        found[vendor.name] = vendor
    return tuple(found.values())


def _from_name(entry: Any) -> Vendor:
    if not isinstance(entry, str):
        hint = f"Pass values such as HoneyHive(project='rag'), or names: {', '.join(VENDORS)}"
        name = entry.__name__ if isinstance(entry, type) else type(entry).__name__
        raise ConfigError("vendors", f"{name} is no vendor", hint)
    vendor = vendor_class(entry)
    try:
        return vendor()
    except EventTreeError:
        raise
    except Exception as error:  # a vendor from outside may do anything when it is made
        raise ConfigError(
            vendor.kind, f"it cannot be made: {diagnostics.described(error)}", "Correct its code"
        ) from error
