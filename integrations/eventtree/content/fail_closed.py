"""Any redactor, made safe: one that raises, or returns anything but a str, has its text replaced.

Apart from the redactors that we bring (`redact.py`), whose many patterns take a while to be made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventtree import diagnostics

Redactor = Callable[[str], str]

MASK = "**********"
FAILED = "[redaction failed]"


class FailClosed:
    """A redactor, or its `hides_key`, that fails closed; `failures` counts how often that was needed."""

    __slots__ = ("ask", "failures", "instead")

    def __init__(self, ask: Callable[[str], Any], instead: str | bool) -> None:
        """Guard `ask`: what it fails on has `instead` for an answer."""
        self.ask = ask
        self.instead = instead
        self.failures = 0

    def __call__(self, text: str) -> Any:
        """The answer for a text or key: a str of the redactor's, and whether the key's value is hidden."""
        try:
            found = self.ask(text)
            if self.instead is True:
                return bool(found)
            if type(found) is str:
                return found
            raise TypeError(type(found).__name__)
        except BaseException as error:
            if diagnostics.must_pass(error):
                raise
            self.failures += 1
            diagnostics.failed("redact", error, diagnostics.place_of(self.ask), "what it fails on is replaced")
            return self.instead
