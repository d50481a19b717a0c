"""The vendors: one file each. A vendor is added by one file, one row in `VENDORS`, one test and one golden folder."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from eventtree.errors import ConfigError
from eventtree.serializer.requests import Encoded, Item, Lookup, Request, Route, Verdict
from eventtree.serializer.vendor import Feedback, Vendor

if TYPE_CHECKING:
    from eventtree.vendors.braintrust import Braintrust
    from eventtree.vendors.honeyhive import HoneyHive
    from eventtree.vendors.humanloop_v4 import HumanloopV4
    from eventtree.vendors.humanloop_v5 import HumanloopV5
    from eventtree.vendors.nebuly import Nebuly

__all__ = [
    "VENDORS", "Braintrust", "Encoded", "Feedback", "HoneyHive", "HumanloopV4", "HumanloopV5", "Item", "Lookup",
    "Nebuly", "Request", "Route", "Vendor", "Verdict", "resolve_vendors", "vendor_class",
]  # fmt: skip

VENDORS = {
    "honeyhive": "HoneyHive",
    "humanloop_v5": "HumanloopV5",
    "humanloop_v4": "HumanloopV4",
    "braintrust": "Braintrust",
    "nebuly": "Nebuly",
}
"""A vendor's name in settings and commands → its class. The module has the same name."""

_MODULES = {class_name: kind for kind, class_name in VENDORS.items()}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return vendor_class(_MODULES[name])


def vendor_class(kind: str) -> type[Vendor]:
    """Find the class of a vendor by its name.

    Raises:
        ConfigError: no vendor has that name.
    """
    known = kind.strip().lower().replace("-", "_")
    if known not in VENDORS:
        raise ConfigError("vendors", f"no vendor is called {kind!r}", f"Known are {', '.join(VENDORS)}")
    found: type[Vendor] = getattr(importlib.import_module(f"{__name__}.{known}"), VENDORS[known])
    return found


def resolve_vendors(given: Iterable[Any]) -> tuple[Vendor, ...]:
    """Turn names into vendors, with settings from the environment. Vendors among them stay as they are.

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
        raise ConfigError("vendors", f"{type(entry).__name__} is no vendor", hint)
    return vendor_class(entry)()
