"""The rules of each vendor's server, written from the published contracts alone, without importing `vendors`."""

from __future__ import annotations

from eventtree.testing.contracts.braintrust import BRAINTRUST
from eventtree.testing.contracts.contract import VendorRules
from eventtree.testing.contracts.honeyhive import HONEYHIVE
from eventtree.testing.contracts.humanloop_v4 import HUMANLOOP_V4
from eventtree.testing.contracts.humanloop_v5 import HUMANLOOP_V5
from eventtree.testing.contracts.nebuly import NEBULY
from eventtree.testing.contracts.otlp import OTLP

CONTRACTS: dict[str, VendorRules] = {
    rules.name: rules for rules in (HONEYHIVE, HUMANLOOP_V5, HUMANLOOP_V4, BRAINTRUST, NEBULY, OTLP)
}

__all__ = ["CONTRACTS"]
