"""What eventtree ships for tests: `VendorServer`, a real HTTP server that knows what the vendors published."""

from __future__ import annotations

from eventtree.testing.capture import Captured, capture
from eventtree.testing.contracts.contract import Repeats
from eventtree.testing.server import Answer, Received, VendorServer

__all__ = ["Answer", "Captured", "Received", "Repeats", "VendorServer", "capture"]
