"""OTLP's bytes: spans are written straight as protobuf, in a quarter of the library's time, and read by its messages
(`opentelemetry-proto`, loaded when the first is read), to be shown in their JSON form.

The JSON form (lowerCamelCase, ids in hex, 64-bit integers as text, enums as numbers) is what exports and dead letters
show; over the wire goes protobuf. Source: opentelemetry-proto 1.10, `docs/specification.md`.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from importlib import import_module
from struct import pack
from typing import Any

import pydantic_core

from eventtree import trace
from eventtree.errors import ConfigError
from eventtree.event import JsonValue
from eventtree.remembered import Remembered
from eventtree.serializer.formats import LIGHT_BYTES, Format, truncate_row
from eventtree.serializer.messages import as_text
from eventtree.serializer.times import EPOCH, in_utc

PROTOBUF = "application/x-protobuf"
IDS = frozenset({"traceId", "spanId", "parentSpanId"})
MOST, BITS, LARGEST = (1 << 63) - 1, (1 << 64) - 1, sys.float_info.max
MICROSECOND = timedelta(microseconds=1)
SHORT = 2_048
"""Bytes: what stands before longer texts is made each time."""
MISSING = ConfigError("OTLP", "opentelemetry-proto is not installed", "Run pip install 'eventtree[otlp]'")


def proto(module: str) -> Any:
    """The messages of one of the protocol's files."""
    return import_module(f"opentelemetry.proto.{module}_pb2")


def trace_id(tree_id: str) -> bytes:
    """The 16 bytes of a tree's UUID; of an id that is none, or all zero, a hash."""
    return bytes.fromhex(trace.trace_id(tree_id))


@lru_cache(maxsize=4_096)
def span_id(run_id: str) -> bytes:
    """The last 8 bytes of a run's UUID (the first ones of a UUIDv7 are its time); of an id that is none, a hash."""
    return bytes.fromhex(trace.span_id(run_id))


def ids(field: int, trace: bytes, span: bytes) -> bytes:
    """A trace's id (16 bytes) and a span's (8), as two fields that follow each other."""
    return TAGS[field] + b"\x10" + trace + TAGS[field + 1] + b"\x08" + span


def nanoseconds(at: datetime, after: float = 0.0) -> int:
    """So many seconds after a time, as OTLP has it: ns since 1970, none before and none beyond what 64 bits hold."""
    elapsed: int = ((at if at.tzinfo is UTC else in_utc(at)) - EPOCH) // MICROSECOND * 1_000
    if after:
        elapsed += round(after * 1e6) * 1_000
    return elapsed if 0 <= elapsed <= MOST else 0 if elapsed < 0 else MOST


class Sizes(dict[int, bytes]):
    """A whole number → its bytes, seven bits in each, the lowest first."""

    def __missing__(self, value: int) -> bytes:
        if value >= 16_384:
            return b"%c%b" % (value & 127 | 128, self[value >> 7])
        made = self[value] = b"%c" % value if value < 128 else b"%c%c" % (value & 127 | 128, value >> 7)
        return made


SIZES = Sizes()
TAGS = [b"%c" % (field << 3 | 2) for field in range(16)]
"""Number of a field that holds bytes → what it begins with."""


class Before(dict[int, bytes]):
    """The size of a text, or of a message → what stands before it in the messages around it, each as a field of the
    next. Attributes are most of a span, and nearly all are short: what is the same each time is made once.
    """

    __slots__ = ("layers",)

    def __init__(self, *layers: tuple[int, bytes]) -> None:
        """From the innermost: the number of the field, and what its message holds before it."""
        self.layers = [known + TAGS[field] for field, known in layers]

    def __missing__(self, size: int) -> bytes:
        before = b""
        for known in self.layers:
            before = known + SIZES[len(before) + size] + before
        if size < SHORT:
            self[size] = before
        return before


class Key:
    """An attribute's name, in a message that has its attributes in the field of this number."""

    __slots__ = ("text", "value")

    def __init__(self, field: int, name: str) -> None:
        """What stands before a text, and before any other value."""
        around = (2, framed(1, name.encode("utf-8", "replace"))), (field, b"")
        self.text, self.value = Before((1, b""), *around), Before(*around)


RESOURCE, EVENT, RECORD, SPAN = 1, 3, 6, 9
"""What has attributes → the number of their field."""
KEYS: Remembered[str, Key] = Remembered(1_024, partial(Key, SPAN), longest=120)
"""Of a span's attributes; others are few."""


def attributes(field: int, values: Mapping[str, Any]) -> bytes:
    """Attributes of texts, numbers, switches, and lists of texts; None is left out."""
    found: list[bytes] = []
    for name, one in values.items():
        if one is not None:
            add(found, Key(field, name), one)
    return b"".join(found)


def add(found: list[bytes], key: Key, value: Any) -> None:
    """Add one attribute, in pieces; bytes are a text in UTF-8."""
    if type(value) is str:
        value = value.encode("utf-8", "replace")
    if type(value) is bytes:
        found += (key.text[len(value)], value)
    else:
        made = _any(value)
        found += (key.value[len(made)], made)


def _any(value: Any) -> bytes:
    # Fields of AnyValue: text 1, switch 2, whole number 3, double 4, list 5.
    kind = type(value)
    if kind is int and -MOST <= value <= MOST:
        return b"\x18" + SIZES[value & BITS]
    if kind is float or kind is int:
        return b"\x21" + pack("<d", max(-LARGEST, min(value, LARGEST)) if kind is int else value)
    if kind is str:
        return text_field(1, value)
    if kind is bool:
        return b"\x10%c" % value
    return framed(5, b"".join([framed(1, _any(one)) for one in value]))


def framed(field: int, payload: bytes) -> bytes:
    """A message, or a text, as a field of the message around it."""
    return TAGS[field] + SIZES[len(payload)] + payload


def text_field(field: int, text: str) -> bytes:
    """A text; halves of surrogate pairs, which UTF-8 cannot hold, are replaced."""
    return framed(field, text.encode("utf-8", "replace"))


def request_format(module: str, message: str) -> Format:
    """The format of a route that carries such requests. An item is a request of one span: joined, they are one."""

    def parsed(content: bytes) -> Any:
        return getattr(proto(module), message).FromString(content)

    def read(content: bytes) -> JsonValue:
        from google.protobuf.json_format import MessageToDict

        form = MessageToDict(parsed(content), use_integers_for_enums=True)
        return _ids(form, lambda text: base64.b64decode(text).hex())

    def write(form: JsonValue) -> bytes:
        from google.protobuf.json_format import ParseDict

        in_base64 = _ids(form, lambda text: base64.b64encode(bytes.fromhex(text)).decode())
        return bytes(ParseDict(in_base64, getattr(proto(module), message)()).SerializeToString())

    def shorten(content: bytes, max_bytes: int) -> bytes | None:
        request = parsed(content)
        heavy = [text for text in _texts(request) if len(text.string_value) > LIGHT_BYTES]
        room = max_bytes - len(content) + sum(len(text.string_value.encode()) for text in heavy)
        shorter = truncate_row({str(at): _parsed(text.string_value) for at, text in enumerate(heavy)}, room)
        for at, text in enumerate(heavy if shorter is not None else ()):
            text.string_value = as_text((shorter or {})[str(at)])
        return None if shorter is None else bytes(request.SerializeToString())

    return Format(PROTOBUF, b"", read, write, shorten)


SPANS = request_format("collector.trace.v1.trace_service", "ExportTraceServiceRequest")
RECORDS = request_format("collector.logs.v1.logs_service", "ExportLogsServiceRequest")


def _texts(request: Any) -> list[Any]:
    """The text attributes of a request's spans and of what happened during them."""
    spans = [span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans]
    places = [place for span in spans for place in (span, *span.events)]
    return [one.value for place in places for one in place.attributes if one.value.HasField("string_value")]


def _parsed(text: str) -> JsonValue:
    """What a text holds as JSON, so that it is still JSON after it was shortened; else the text."""
    try:
        value = pydantic_core.from_json(text)
    except ValueError:
        return text
    return value if isinstance(value, dict | list) else text


def _ids(form: JsonValue, change: Callable[[str], str]) -> JsonValue:
    """The JSON form with its ids written otherwise: protobuf's own JSON has base64 there, OTLP's has hex."""
    if isinstance(form, list):
        return [_ids(one, change) for one in form]
    if isinstance(form, dict):
        return {key: change(one) if key in IDS else _ids(one, change) for key, one in form.items()}
    return form
