"""The vendors by name, as settings, commands and the environment give it. A vendor's module loads when it is named."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from eventtree.errors import ConfigError, did_you_mean
from eventtree.serializer.vendor import Vendor

VENDORS = {
    "honeyhive": "HoneyHive",
    "humanloop_v5": "HumanloopV5",
    "humanloop_v4": "HumanloopV4",
    "braintrust": "Braintrust",
    "nebuly": "Nebuly",
}
"""Name in settings and commands → class. The module in `eventtree.vendors` bears the name."""


def vendor_class(kind: str) -> type[Vendor]:
    """The class of a vendor by its name.

    Raises:
        ConfigError: no vendor has that name.
    """
    known = kind.strip().lower().replace("-", "_")
    if known not in VENDORS:
        raise ConfigError(
            "vendors", f"no vendor is called {kind!r}", f"{did_you_mean(known, VENDORS)}Known are {', '.join(VENDORS)}"
        )
    found: type[Vendor] = getattr(importlib.import_module(f"eventtree.vendors.{known}"), VENDORS[known])
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
            hint = "Give each its own: name='…'"
            raise ConfigError("vendors", f"two vendors are called {vendor.name!r}", hint)
        found[vendor.name] = vendor
    return tuple(found.values())


def _from_name(entry: Any) -> Vendor:
    if not isinstance(entry, str):
        hint = f"Pass values such as HoneyHive(project='rag'), or names: {', '.join(VENDORS)}"
        raise ConfigError("vendors", f"{type(entry).__name__} is no vendor", hint)
    return vendor_class(entry)()
