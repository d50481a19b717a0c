"""Makes any redactor fail closed: if it raises, or does not return a str, the text is replaced.

Not in `redact.py`, because the many patterns of the built-in redactors take long to compile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventtree import diagnostics

Redactor = Callable[[str], str]

MASK = "**********"
FAILED = "[redaction failed]"


class FailClosed:
    """A redactor, or its `hides_key`, that fails closed."""

    __slots__ = ("ask", "instead")

    def __init__(self, ask: Callable[[str], Any], instead: str | bool) -> None:
        """Guard `ask`; if it fails, the answer is `instead`."""
        self.ask = ask
        self.instead = instead

    def __call__(self, text: str) -> Any:
        """The answer for a text (the redacted str) or a key (whether its value is hidden)."""
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
            diagnostics.failed("redact", error, diagnostics.place_of(self.ask), "what it fails on is replaced")
            return self.instead
