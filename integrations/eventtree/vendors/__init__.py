"""The vendors: one file each. A vendor is added by one file, one row in `KINDS`, one test and one golden folder."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from eventtree.errors import ConfigError
from eventtree.vendors.vendor import Encoded, Feedback, Item, Lookup, Request, Route, Vendor, Verdict

if TYPE_CHECKING:
    from eventtree.vendors.braintrust import Braintrust
    from eventtree.vendors.honeyhive import HoneyHive
    from eventtree.vendors.humanloop_v4 import HumanloopV4
    from eventtree.vendors.humanloop_v5 import HumanloopV5
    from eventtree.vendors.nebuly import Nebuly

__all__ = [
    "KINDS", "Braintrust", "Encoded", "Feedback", "HoneyHive", "HumanloopV4", "HumanloopV5", "Item", "Lookup", "Nebuly",
    "Request", "Route", "Vendor", "Verdict", "resolve_vendors", "vendor_class",
]  # fmt: skip

KINDS = {
    "honeyhive": "HoneyHive",
    "humanloop_v5": "HumanloopV5",
    "humanloop_v4": "HumanloopV4",
    "braintrust": "Braintrust",
    "nebuly": "Nebuly",
}
"""Name in settings and commands → class. The module bears the name."""

_MODULES = {class_name: kind for kind, class_name in KINDS.items()}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return vendor_class(_MODULES[name])


def vendor_class(kind: str) -> type[Vendor]:
    """The class of a vendor by its name.

    Raises:
        ConfigError: no vendor has that name.
    """
    known = kind.strip().lower().replace("-", "_")
    if known not in KINDS:
        raise ConfigError("vendors", f"no vendor is called {kind!r}", f"Known are {', '.join(KINDS)}")
    found: type[Vendor] = getattr(importlib.import_module(f"{__name__}.{known}"), KINDS[known])
    return found


def resolve_vendors(given: Iterable[Any]) -> tuple[Vendor, ...]:
    """Vendor values as they are, names with their settings from the environment.

    Raises:
        ConfigError: a name is unknown, a setting is missing, or two vendors bear one name.
    """
    found: dict[str, Vendor] = {}
    for entry in given:
        vendor = entry if isinstance(entry, Vendor) else _from_name(entry)
        if found.get(vendor.name, vendor) != vendor:
            mend = "Give each its own: name='…'"
            raise ConfigError("vendors", f"two vendors are called {vendor.name!r}", mend)
        found[vendor.name] = vendor
    return tuple(found.values())


def _from_name(entry: Any) -> Vendor:
    if not isinstance(entry, str):
        mend = f"Pass values such as HoneyHive(project='rag'), or names: {', '.join(KINDS)}"
        raise ConfigError("vendors", f"{type(entry).__name__} is no vendor", mend)
    return vendor_class(entry)()
