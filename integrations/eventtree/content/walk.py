"""Walks over one value: keeps the bounds, finds cycles, and redacts texts.

A walk lasts for a single call. It finds the converter of each object by its class (one dict lookup), and is the only
place where broken objects are caught: an exception of user code becomes a marker in the record.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Iterable
from typing import Any

from eventtree import diagnostics
from eventtree.config import Bounds
from eventtree.content.truncate import TOO_DEEP, apart, cut_marker
from eventtree.diagnostics import ARGS_OF, DICT_OF, MRO_OF, qualified
from eventtree.kinds import JsonValue
from eventtree.remembered import Remembered

Converter = Callable[["Walk", Any, int], JsonValue]
Redactor = Callable[[str], str]

MASK = "**********"
FAILED = "[redaction failed]"

MAX_KINDS = 1024
"""Most classes remembered: classes made at run time (a model per request) must not pile up."""
SHORT = 200
"""Texts up to this many characters are kept even when a value has used up its size."""
LONG = 2_048
"""Longer texts are written once in a tree (`recording/texts.py`)."""
MANY = 4
"""Items of lists with at least this many are written once too."""
shareable = [0]
"""Count of such texts and lists, of all threads: if it has not changed, a new record has none."""
KEY_LENGTH = 64
"""Longer dict keys are not remembered."""
DATASET = ("caller", "cost", "datapoint_id", "dataset_id", "expected", "experiment", "prompt", "run_id", "scores")
OWN_KEYS = frozenset({
    *("type", "message", "traceback", "score", "comment", "correction", "user"),
    *("messages", "documents", "prompt", "query", "input", "text", "texts", "count", "dimensions", "finish_reason"),
    *("role", "content", "reasoning", "name", "status", "id", "artifact", "extra", "left_out", "metadata"),
    *("tool_calls", "tool_call_id", "arguments", "error", "url", "mime_type", "bytes", "sha256", "resumes"),
    *("langgraph_node", "langgraph_checkpoint_ns", "lc_agent_name", "ls_integration", "langfuse_prompt"),
    *("lc_hub_owner", "lc_hub_repo", "lc_hub_commit_hash", *(f"eventtree_{name}" for name in DATASET)),
})  # fmt: skip
"""Dict keys by which errors, feedback, contents and metadata are read: our and the frameworks' words, no text of users.
They are not redacted, so that a redactor that changes every text loses no error and no score.
"""
MARGIN = 4096
"""A long text is redacted with this many more characters than are kept, so that no secret is cut in two and missed."""
MISSING = object()
"""Stands for a field that was never set."""
CYCLE = "…[the same object again]…"


CONVERTERS: Remembered[type, Converter] = Remembered(MAX_KINDS)
"""Class → converter. sanitizer.py sets the first ones, and how others are found."""


def clean(text: str) -> str:
    """`text` as valid Unicode: surrogate pairs joined, lone surrogates replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


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


class KeyCache:
    """The recorded forms of dict keys, which outlast a walk."""

    __slots__ = ("hides", "known", "redact")

    def __init__(self, redact: Redactor | None, hides: FailClosed | None, own_keys: Iterable[str] = ()) -> None:
        """Redact keys by `redact`, except for `own_keys`; `hides` finds keys of secret values. Neither may raise."""
        self.redact = redact
        self.hides = hides
        own = {key: (key, False) for key in own_keys}
        self.known: Remembered[str, tuple[str, bool]] = Remembered(MAX_KINDS, begin=own, longest=KEY_LENGTH)

    def learn(self, key: str) -> tuple[str, bool]:
        """The recorded form of `key`, and whether its value is secret."""
        if (found := self.known.get(key)) is not None:
            return found
        name = clean(key)
        hidden = self.hides is not None and self.hides(name)
        if self.redact is not None and name not in OWN_KEYS:
            name = clean(self.redact(name))
        return (name, hidden) if name is FAILED else self.known.keep(key, (name, hidden))


class Walk:
    """The state of one conversion. The given value has `depth` 0."""

    __slots__ = ("bounds", "lasting", "nodes", "path", "redact", "spent")

    def __init__(self, bounds: Bounds, redact: Redactor | None, lasting: KeyCache) -> None:
        """Begin with nothing spent. `redact` must not raise."""
        self.bounds = bounds
        self.redact = redact
        self.lasting = lasting
        self.path: set[int] = set()
        self.nodes = bounds.nodes
        self.spent = 0

    def value(self, value: Any, depth: int, convert: Converter | None = None) -> JsonValue:
        """Any value as plain JSON, by `convert` or by the converter of its class.

        The boundary to user code: whatever the value's code raises, SystemExit too, becomes a marker.
        """
        try:
            return (convert or CONVERTERS[type(value)])(self, value, depth)
        except BaseException as problem:
            if diagnostics.must_pass(problem):
                raise
            return self.unreadable(type(value), problem)

    def unreadable(self, kind: type, problem: BaseException) -> JsonValue:
        """The marker for an object that raised; built without running any of its code."""
        args = ARGS_OF(problem)
        words = qualified(type(problem))
        if args and type(args[0]) is str:
            words += ": " + (self.text(args[0]) if len(args[0]) <= SHORT else self.cut(args[0], SHORT))
        return {"unreadable": qualified(kind), "problem": words}

    def string(self, value: str) -> JsonValue:
        """A str as text, or as a part if it is a data URL with a file."""
        if len(value) > SHORT and value.startswith("data:"):
            return CONVERTERS[DataUrl](self, value, 0)
        return self.text(value)

    def text(self, value: str) -> str:
        """A str, redacted, cut to size and valid as UTF-8."""
        if len(value) > SHORT:
            shareable[0] += len(value) > LONG
            if len(value) > (room := self.room()):
                return self.cut(value, room)
        if self.redact is not None:
            value = self.redact(value if value.isascii() else clean(value))
        if value.isascii():
            self.spent += len(value)
            return value
        value = clean(value)
        self.spent += len(value.encode())
        return value

    def room(self) -> int:
        """The longest text still welcome. `truncate` shares out the size fairly later; this only stops a flood."""
        whole = self.bounds.value_bytes
        if self.spent <= 4 * whole:
            return whole
        return max(SHORT, whole >> 6) if self.spent <= 64 * whole else SHORT

    def cut(self, value: str, room: int) -> str:
        """Head and tail of a text that is longer than `room`."""
        diagnostics.truncations["value_bytes"] += 1
        half = room // 2
        if self.redact is None:
            head, tail = value[:half], value[-half:] if half else ""
        elif len(value) <= 2 * (half + MARGIN):
            whole = self.redact(clean(value))
            if len(whole) <= room:
                head, tail, half = whole, "", len(value)
            else:
                head, tail = whole[:half], whole[-half:] if half else ""
        else:
            head = self.redact(clean(value[: half + MARGIN]))
            tail = self.redact(clean(value[-(half + MARGIN) :]))
            if head == FAILED or tail == FAILED:
                return FAILED
            head, tail = head[:-MARGIN], tail[MARGIN:]
        lost = len(value) - 2 * half
        self.spent += len(head) + len(tail)
        return clean(head + cut_marker(lost) + tail if lost > 0 else head)

    def take(self, size: int) -> int:
        """Number of the `size` items that may be kept; all are counted as met."""
        if size > self.bounds.items:
            diagnostics.truncations["items"] += 1
            size = self.bounds.items
        if size > self.nodes:
            diagnostics.truncations["nodes"] += 1
            size = self.nodes
        self.nodes -= size
        return size

    def enter(self, value: object, depth: int) -> str | None:
        """Go into a container; a marker where that must not be. Every None is followed by one `leave`."""
        if depth >= self.bounds.depth:
            diagnostics.truncations["depth"] += 1
            return TOO_DEEP
        here = id(value)
        if here in self.path:
            return CYCLE
        self.path.add(here)
        return None

    def leave(self, value: object) -> None:
        """Come back out of a container."""
        self.path.discard(id(value))

    def pairs(self, pairs: Iterable[tuple[Any, Any]], depth: int) -> dict[str, JsonValue]:
        """A dict from keys of any type and values of any type, both at `depth`."""
        out: dict[str, JsonValue] = {}
        known, text = self.lasting.known, self.text
        for key, item in pairs:
            name, hidden = (known.get(key) if type(key) is str else None) or self.key(key, depth)
            self.spent += len(name)
            if name in out:
                name = apart(name, out)
            if type(item) is str and not hidden:
                out[name] = text(item) if len(item) <= SHORT else self.string(item)
            elif hidden and item is not None and type(item) is not bool:
                out[name] = MASK
            else:
                out[name] = self.value(item, depth)
        return out

    def fields(self, value: object, fields: Fields, depth: int) -> JsonValue:
        """An object as a dict of its fields."""
        if blocked := self.enter(value, depth):
            return blocked
        try:
            return self.pairs(list(fields.items())[: self.take(len(fields))], depth + 1)
        finally:
            self.leave(value)

    def items(self, items: Iterable[Any], depth: int) -> list[JsonValue]:
        """A list of anything; the items are at `depth`."""
        found = [self.string(item) if type(item) is str else self.value(item, depth) for item in items]
        shareable[0] += len(found) >= MANY and type(found[0]) is dict
        return found

    def key(self, key: Any, depth: int) -> tuple[str, bool]:
        """A dict key as it is recorded, and whether its value is secret."""
        if type(key) is not str:
            key = self.key_text(key, depth)
        if len(key) > SHORT and len(key) > (room := self.room()):
            return self.cut(key, room), False
        return self.lasting.learn(key)

    def key_text(self, key: Any, depth: int) -> str:
        """A dict key of another class as text."""
        if enum.Enum in MRO_OF(type(key)):
            key = slot(key, "_value_")
        if isinstance(key, str):
            return str.__str__(key)
        if isinstance(key, bytes):
            return bytes.decode(key, errors="replace")
        plain = self.value(key, depth)
        return plain if type(plain) is str else compact(plain)


class DataUrl:
    """Stands for texts that begin with `data:` in the table of converters."""


def compact(value: JsonValue) -> str:
    """A plain value as one line of text, for keys and sorting."""
    return "null" if value is None else repr(value).lower() if type(value) is bool else repr(value)


ATTRIBUTE_OF = object.__getattribute__


def fields_of(value: object) -> dict[str, Any]:
    """The object's own `__dict__`, whatever its class does with attributes; to be read only."""
    own = ATTRIBUTE_OF(value, "__dict__")
    return own if type(own) is dict else {}


def slot(value: object, name: str, otherwise: Any = None) -> Any:
    """A field as Python keeps it: in the object, in a slot of its class, or its class's default; else `otherwise`.

    No code of the user's runs: properties and `__getattr__` are passed over.
    """
    try:
        if name in (own := fields_of(value)):
            return own[name]
    except AttributeError:
        pass  # it has no `__dict__`
    if (read := SLOTS[type(value)].get(name)) is not None:
        try:
            return read(value)
        except AttributeError:
            return otherwise
    found = next((names[name] for each in MRO_OF(type(value)) if name in (names := DICT_OF(each))), MISSING)
    return otherwise if found is MISSING or hasattr(type(found), "__get__") else found


def slots_of(kind: type) -> dict[str, Callable[[Any], Any]]:
    """How the slots of a class are read, by name."""
    names: dict[str, Any] = {}
    for each in reversed(MRO_OF(kind)):
        names.update(DICT_OF(each))
    return {name: found.__get__ for name, found in names.items() if type(found) is types.MemberDescriptorType}


SLOTS: Remembered[type, dict[str, Callable[[Any], Any]]] = Remembered(MAX_KINDS, slots_of)
"""Class → its slots."""


class Fields(dict[str, Any]):
    """An object's fields by name."""


class Reader:
    """Converter of objects by their `Fields`, or by another value that they are recorded as.

    Both are read without running any code of the user. The fast path (fast_path.py) copies what was read.
    """

    __slots__ = ("read",)

    def __init__(self, read: Callable[[Any], Any]) -> None:
        """Convert what `read` gives of an object."""
        self.read = read

    def __call__(self, walk: Walk, value: object, depth: int) -> JsonValue:
        """The fields or the other value of `value`, as plain JSON."""
        found = self.read(value)
        if type(found) is Fields:
            return walk.fields(value, found, depth)
        if id(value) in walk.path:
            return CYCLE  # the other value is the object itself
        walk.path.add(id(value))
        try:
            return walk.value(found, depth)
        finally:
            walk.leave(value)


def name_of(walk: Walk, value: object, _depth: int = 0) -> dict[str, JsonValue]:
    """The object by its class alone."""
    return {"object": walk.text(qualified(type(value)))}
