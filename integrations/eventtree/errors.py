"""What eventtree raises.

    EventTreeError
    ├── ConfigError      you: a setting is wrong or missing; the message names it and the hint
    ├── JournalError     you: the journal's folder cannot be used as it stands
    └── RequestError     the network or the vendor: a request got no usable answer (never leaves delivery)

Nothing here is ever raised out of a callback: errors show at construction or in a command, never in the middle of
an app's run.
"""

from __future__ import annotations


class EventTreeError(Exception):
    """Root of all errors of this package."""


class ConfigError(EventTreeError):
    """A setting is wrong or missing."""

    def __init__(self, setting: str, problem: str, hint: str) -> None:
        """Say which `setting` has which `problem`, and what would `hint` it."""
        super().__init__(f"{setting}: {problem}. {hint}")
        self.setting = setting


class JournalError(EventTreeError):
    """The journal's folder cannot be used as it stands."""


class RequestError(EventTreeError):
    """A request got no answer: the network failed or the deadline passed."""
