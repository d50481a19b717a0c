"""The exceptions that eventtree raises.

    EventTreeError
    ├── ConfigError      you: a setting is wrong or missing; the message names it and the hint
    ├── JournalError     you: the journal's folder cannot be used as it is
    └── RequestError     the network or the vendor: a request got no usable answer (never leaves delivery)

Nothing here is ever raised out of a callback: errors show at construction or in a command, never in the middle of
an app's run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

COMPLAINTS: Mapping[str, str] = {
    "extra_forbidden": "there is no such setting",
    "missing": "it is missing",
    "greater_than_equal": "it is less than {ge}",
    "greater_than": "it is not more than {gt}",
    "less_than_equal": "it is more than {le}",
    "less_than": "it is not less than {lt}",
    "literal_error": "it is none of {expected}",
    "string_too_short": "it is empty",
    "value_error": "{error}",
    "bool": "it is neither on nor off",
    "callable": "it is no function",
    "date": "it is no date",
    "finite": "it is no finite number",
    "int": "it is no whole number",
    "string": "it is no text",
    **dict.fromkeys(("decimal", "float"), "it is no number"),
    **dict.fromkeys(("dict", "mapping", "model"), "it is no dict"),
    **dict.fromkeys(("list", "tuple"), "it is no list"),
}
"""pydantic's type of an error, or its first word → the problem in plain words."""


class EventTreeError(Exception):
    """Root of all errors of this package."""


class ConfigError(EventTreeError):
    """A setting is wrong or missing."""

    def __init__(self, setting: str, problem: str, hint: str) -> None:
        """State the `setting`, its `problem` and, as `hint`, what to do about it."""
        super().__init__(f"{setting}: {problem}. {hint}")
        self.setting, self.problem, self.hint = setting, problem, hint


class JournalError(EventTreeError):
    """The journal's folder cannot be used as it is."""


class RequestError(EventTreeError):
    """A request got no answer: the network failed or the deadline passed."""

    headers: Mapping[str, str] | None = None
    """Headers of the answer to a look-up that had to succeed first; they may state how long to wait."""


def without_extra(extra: str, error: ImportError) -> ImportError:
    """The import error of an extra that is not installed: it names the missing package and how to install the extra."""
    if (error.name or "eventtree").partition(".")[0] == "eventtree":
        return error  # our own fault: no extra would help
    hint = f"Run pip install 'eventtree[{extra}]'"
    return ModuleNotFoundError(f"{error.name} is not installed. {hint}", name=error.name, path=error.path)


BRANCHES = ("callable", "str")
"""Parts that pydantic adds to the path of a setting that has several types."""


def complaint(error: ValidationError) -> tuple[str, str]:
    """The setting (`bounds.depth`) and the problem of the first error. The value, maybe a secret, is not shown."""
    first = error.errors(include_url=False, include_input=False)[0]
    kind = str(first["type"])
    words = COMPLAINTS.get(kind) or COMPLAINTS.get(kind.partition("_")[0], "it is of a wrong kind")
    where = [str(part) for part in first["loc"] if part not in BRANCHES]
    return ".".join(where), words.format(**first.get("ctx", {}))


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The beginning of a hint for a misspelt name: `Did you mean …? `; empty where no known name is similar."""
    from difflib import get_close_matches

    close = [] if name in known else get_close_matches(name.lower(), known, 1)
    return f"Did you mean {close[0]}? " if close else ""
