"""Any redactor, made safe: one that raises, or returns anything but a str, has its text replaced.

Apart from the redactors that we bring (`redact.py`), whose many patterns take a while to be made.
"""

from __future__ import annotations

from collections.abc import Callable

from eventtree import diagnostics

Redactor = Callable[[str], str]

MASK = "**********"
FAILED = "[redaction failed]"


class FailClosed:
    """A redactor that fails closed; `failures` counts how often that was needed."""

    __slots__ = ("failures", "redact")

    def __init__(self, redact: Redactor) -> None:
        """Guard `redact`."""
        self.redact = redact
        self.failures = 0

    def __call__(self, text: str) -> str:
        """`text` redacted, or a marker in its place."""
        try:
            redacted = self.redact(text)
            if type(redacted) is str:
                return redacted
            raise TypeError(type(redacted).__name__)
        except BaseException as error:
            if diagnostics.must_pass(error):
                raise
            self.failures += 1
            diagnostics.failed("redact", error, diagnostics.place_of(self.redact), "what it fails on is replaced")
            return FAILED


class FailClosedKeys:
    """A redactor's `hides_key` that fails closed."""

    __slots__ = ("guard", "hides_key")

    def __init__(self, hides_key: Callable[[str], bool], guard: FailClosed) -> None:
        """Guard `hides_key`, counting with `guard`."""
        self.hides_key = hides_key
        self.guard = guard

    def __call__(self, key: str) -> bool:
        """Whether the value under `key` is secret; yes where that cannot be decided."""
        try:
            return bool(self.hides_key(key))
        except BaseException as error:
            if diagnostics.must_pass(error):
                raise
            self.guard.failures += 1
            diagnostics.failed("redact", error, diagnostics.place_of(self.hides_key), "what it fails on is replaced")
            return True
