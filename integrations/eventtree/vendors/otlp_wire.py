"""OTLP's bytes: spans are written straight as protobuf, in a quarter of the library's time, and read by its messages
(`opentelemetry-proto`, loaded when the first is read), to be shown in their JSON form.

The JSON form (lowerCamelCase, ids in hex, 64-bit integers as text, enums as numbers) is what exports and dead letters
show; over the wire goes protobuf. Source: opentelemetry-proto 1.10, `docs/specification.md`.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import import_module
from struct import pack
from typing import Any

from eventtree import trace
from eventtree.event import JsonValue
from eventtree.remembered import Remembered
from eventtree.serializer.formats import LIGHT_BYTES, Format, truncate_row
from eventtree.serializer.messages import as_text
from eventtree.serializer.times import EPOCH, in_utc
from eventtree.serializer.vendor import json_in

IDS = frozenset({"traceId", "spanId", "parentSpanId"})
MOST, BITS, LARGEST = (1 << 63) - 1, (1 << 64) - 1, sys.float_info.max
MICROSECOND = timedelta(microseconds=1)
SHORT = 2_048
"""Bytes: what stands before longer texts is made each time."""


def trace_id(tree_id: str) -> bytes:
    """The 16 bytes of a tree's UUID; of an id that is none, or all zero, a hash."""
    return bytes.fromhex(trace.trace_id(tree_id))


@lru_cache(maxsize=4_096)
def span_id(run_id: str) -> bytes:
    """The last 8 bytes of a run's UUID (the first ones of a UUIDv7 are its time); of an id that is none, a hash."""
    return bytes.fromhex(trace.span_id(run_id))


def nanoseconds(at: datetime, after: float = 0.0) -> int:
    """So many seconds after a time, as OTLP has it: ns since 1970, none before and none beyond what 64 bits hold."""
    elapsed: int = ((at if at.tzinfo is UTC else in_utc(at)) - EPOCH) // MICROSECOND * 1_000
    if after:
        elapsed += round(after * 1e6) * 1_000
    return elapsed if 0 <= elapsed <= MOST else 0 if elapsed < 0 else MOST


# Writing: the fields of messages. A field that holds bytes is its tag, its size, its bytes.


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


def framed(field: int, payload: bytes) -> bytes:
    """A message, or a text, as a field of the message around it."""
    return TAGS[field] + SIZES[len(payload)] + payload


def text_field(field: int, text: str) -> bytes:
    """A text; halves of surrogate pairs, which UTF-8 cannot hold, are replaced."""
    return framed(field, text.encode("utf-8", "replace"))


def ids(field: int, trace: bytes, span: bytes) -> bytes:
    """A trace's id and a span's, as two fields that follow each other."""
    return framed(field, trace) + framed(field + 1, span)


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


RESOURCE, EVENT, RECORD, SPAN = 1, 3, 6, 9
"""What has attributes → the number of their field."""


def key_of(name: str, field: int = SPAN) -> tuple[Before, Before]:
    """The key of an attribute: what stands before a text, and before any other value."""
    around = (2, text_field(1, name)), (field, b"")
    return Before((1, b""), *around), Before(*around)


KEYS: Remembered[str, tuple[Before, Before]] = Remembered(1_024, key_of, longest=120)
"""Of a span's attributes; others are few."""


def attributes(field: int, values: Mapping[str, Any]) -> bytes:
    """Attributes of texts, numbers, switches, and lists of texts; None is left out."""
    found: list[bytes] = []
    for name, one in values.items():
        if one is not None:
            add(found, key_of(name, field), one)
    return b"".join(found)


def add(found: list[bytes], key: tuple[Before, Before], value: Any) -> None:
    """Add one attribute, in pieces; bytes are a text in UTF-8."""
    if type(value) is str:
        value = value.encode("utf-8", "replace")
    if type(value) is bytes:
        found += (key[0][len(value)], value)
    else:
        made = _any(value)
        found += (key[1][len(made)], made)


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


# Reading: the library's messages


def proto(module: str, message: str) -> Any:
    """A message of one of the protocol's files."""
    return getattr(import_module(f"opentelemetry.proto.{module}_pb2"), message)


def changed(form: JsonValue, keys: Collection[str], change: Callable[[str], str]) -> JsonValue:
    """The JSON form of a message, with the texts at these keys changed."""
    if isinstance(form, list):
        return [changed(one, keys, change) for one in form]
    if isinstance(form, dict):
        return {key: change(one) if key in keys else changed(one, keys, change) for key, one in form.items()}
    return form


def request_format(module: str, message: str) -> Format:
    """The format of a route that carries such requests. An item is a request of one span: joined, they are one."""

    # protobuf's own JSON has ids in base64, OTLP's in hex
    def read(content: bytes) -> JsonValue:
        from google.protobuf.json_format import MessageToDict

        form = MessageToDict(proto(module, message).FromString(content), use_integers_for_enums=True)
        return changed(form, IDS, lambda text: base64.b64decode(text).hex())

    def write(form: JsonValue) -> bytes:
        from google.protobuf.json_format import ParseDict

        in_base64 = changed(form, IDS, lambda text: base64.b64encode(bytes.fromhex(text)).decode())
        return bytes(ParseDict(in_base64, proto(module, message)()).SerializeToString())

    def shorten(content: bytes, max_bytes: int) -> bytes | None:
        form, texts = read(content), list[str]()
        changed(form, ("stringValue",), lambda text: texts.append(text) or text)  # type: ignore[func-returns-value]
        heavy = {str(at): parsed(text) for at, text in enumerate(texts) if len(text) > LIGHT_BYTES}
        light = len(content) - sum(len(texts[int(at)].encode()) for at in heavy)
        shorter = truncate_row(heavy, max_bytes - light)
        if shorter is None:
            return None
        kept = (as_text(shorter.get(str(at), text)) for at, text in enumerate(texts))
        return write(changed(form, ("stringValue",), lambda _: next(kept)))

    return Format("application/x-protobuf", b"", read, write, shorten)


def parsed(text: str) -> JsonValue:
    """What a text holds as JSON, so that it is still JSON after it was shortened; else the text."""
    value = json_in(text.encode())
    return value if isinstance(value, dict | list) else text


SPANS = request_format("collector.trace.v1.trace_service", "ExportTraceServiceRequest")
RECORDS = request_format("collector.logs.v1.logs_service", "ExportLogsServiceRequest")
