"""The vendors, one file each. To add one: a file, a row in `VENDORS`, a test and a golden folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventtree.serializer.formats import Format, to_json
from eventtree.serializer.registry import VENDORS, resolve_vendors, vendor_class
from eventtree.serializer.requests import Encoded, Item, Lookup, Request, Route, Verdict
from eventtree.serializer.vendor import Feedback, Vendor

if TYPE_CHECKING:
    from eventtree.vendors.braintrust import Braintrust
    from eventtree.vendors.honeyhive import HoneyHive
    from eventtree.vendors.humanloop_v4 import HumanloopV4
    from eventtree.vendors.humanloop_v5 import HumanloopV5
    from eventtree.vendors.nebuly import Nebuly
    from eventtree.vendors.otlp import OTLP

__all__ = [
    "OTLP", "VENDORS", "Braintrust", "Encoded", "Feedback", "Format", "HoneyHive", "HumanloopV4", "HumanloopV5",
    "Item", "Lookup", "Nebuly", "Request", "Route", "Vendor", "Verdict", "resolve_vendors", "to_json", "vendor_class",
]  # fmt: skip

_MODULES = {class_name: kind for kind, class_name in VENDORS.items()}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return vendor_class(_MODULES[name])
