"""For tests: `capture()`, and `VendorServer`, a real HTTP server that checks requests against vendors' contracts."""

from __future__ import annotations

from eventtree.testing.capture import Captured, capture
from eventtree.testing.conformance import check_vendor
from eventtree.testing.contracts.contract import Repeats
from eventtree.testing.server import Answer, Received, VendorServer

__all__ = ["Answer", "Captured", "Received", "Repeats", "VendorServer", "capture", "check_vendor"]
