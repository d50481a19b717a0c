"""What each vendor's server takes and refuses, written from the contracts alone and importing nothing of `vendors`."""

from __future__ import annotations

from eventtree.testing.rules.braintrust import BRAINTRUST
from eventtree.testing.rules.honeyhive import HONEYHIVE
from eventtree.testing.rules.humanloop_v4 import HUMANLOOP_V4
from eventtree.testing.rules.humanloop_v5 import HUMANLOOP_V5
from eventtree.testing.rules.nebuly import NEBULY
from eventtree.testing.rules.terms import VendorRules

VENDORS: dict[str, VendorRules] = {
    rules.name: rules for rules in (HONEYHIVE, HUMANLOOP_V5, HUMANLOOP_V4, BRAINTRUST, NEBULY)
}

__all__ = ["VENDORS"]
