"""OTLP's bytes. Spans are written as protobuf here, in a quarter of the library's time; the library,
`opentelemetry-proto`, is loaded on first use and reads them.

Requests are protobuf; exports and dead letters show the JSON form (lowerCamelCase, ids in hex, 64-bit integers as text,
enums as numbers). Source: opentelemetry-proto 1.10, `docs/specification.md`.
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
from eventtree.kinds import JsonValue
from eventtree.remembered import Remembered
from eventtree.serializer.formats import LIGHT_BYTES, Format, truncate_row
from eventtree.serializer.messages import as_text
from eventtree.serializer.times import EPOCH, in_utc
from eventtree.serializer.vendor import json_in

IDS = frozenset({"traceId", "spanId", "parentSpanId"})
MOST, BITS, LARGEST = (1 << 63) - 1, (1 << 64) - 1, sys.float_info.max
MICROSECOND = timedelta(microseconds=1)
SHORT = 2_048
"""Bytes of the longest text whose prefix is cached."""


def trace_id(tree_id: str) -> bytes:
    """The 16 bytes of a tree's UUID; a hash of any other or all-zero id."""
    return bytes.fromhex(trace.trace_id(tree_id))


@lru_cache(maxsize=4_096)
def span_id(run_id: str) -> bytes:
    """The last 8 bytes of a run's UUID (a UUIDv7 begins with its time); a hash of any other id."""
    return bytes.fromhex(trace.span_id(run_id))


def nanoseconds(at: datetime, after: float = 0.0) -> int:
    """A time plus `after` seconds as OTLP's ns since 1970, within 0 and the largest signed 64-bit integer."""
    elapsed: int = ((at if at.tzinfo is UTC else in_utc(at)) - EPOCH) // MICROSECOND * 1_000
    if after:
        elapsed += round(after * 1e6) * 1_000
    return elapsed if 0 <= elapsed <= MOST else 0 if elapsed < 0 else MOST


# Writing: the fields of messages. A field of bytes is its tag, its size, its bytes.


class Sizes(dict[int, bytes]):
    """A whole number → its varint: seven bits in each byte, the lowest first."""

    def __missing__(self, value: int) -> bytes:
        if value >= 16_384:
            return b"%c%b" % (value & 127 | 128, self[value >> 7])
        made = self[value] = b"%c" % value if value < 128 else b"%c%c" % (value & 127 | 128, value >> 7)
        return made


SIZES = Sizes()
TAGS = [b"%c" % (field << 3 | 2) for field in range(16)]
"""Number of a field of bytes → its tag."""


def framed(field: int, payload: bytes) -> bytes:
    """A message or text as a field of its outer message."""
    return TAGS[field] + SIZES[len(payload)] + payload


def text_field(field: int, text: str) -> bytes:
    """A text; halves of surrogate pairs, which UTF-8 cannot hold, are replaced."""
    return framed(field, text.encode("utf-8", "replace"))


def ids(field: int, trace: bytes, span: bytes) -> bytes:
    """A trace's and a span's id, as two consecutive fields."""
    return framed(field, trace) + framed(field + 1, span)


class Before(dict[int, bytes]):
    """Size of a text or message → its prefix: the beginnings of its outer messages, each a field of the next.
    Attributes are most of a span and nearly all are short, so each prefix is made once.
    """

    __slots__ = ("layers",)

    def __init__(self, *layers: tuple[int, bytes]) -> None:
        """Layers from the innermost: number of the field, and its message's bytes before it."""
        self.layers = [known + TAGS[field] for field, known in layers]

    def __missing__(self, size: int) -> bytes:
        before = b""
        for known in self.layers:
            before = known + SIZES[len(before) + size] + before
        if size < SHORT:
            self[size] = before
        return before


RESOURCE, EVENT, RECORD, SPAN = 1, 3, 6, 9
"""Field number of attributes in each message that has them."""


def key_of(name: str, field: int = SPAN) -> tuple[Before, Before]:
    """An attribute's prefixes: of a text value, and of any other."""
    around = (2, text_field(1, name)), (field, b"")
    return Before((1, b""), *around), Before(*around)


KEYS: Remembered[str, tuple[Before, Before]] = Remembered(1_024, key_of, longest=120)
"""Name of a span's attribute → its prefixes. Other attributes are few."""


def attributes(field: int, values: Mapping[str, Any]) -> bytes:
    """Attributes of texts, numbers, booleans and lists of texts, without None."""
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
    # Fields of AnyValue: text 1, boolean 2, integer 3, double 4, list 5.
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
    """A message's JSON form, with the texts at these keys changed."""
    if isinstance(form, list):
        return [changed(one, keys, change) for one in form]
    if isinstance(form, dict):
        return {key: change(one) if key in keys else changed(one, keys, change) for key, one in form.items()}
    return form


def request_format(module: str, message: str) -> Format:
    """Format of a route of such requests. An item is a request of one span: joined items are one request."""

    # protobuf's JSON has ids in base64, OTLP's in hex
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
    """A text's value as JSON, so that it stays JSON when shortened; else the text."""
    value = json_in(text.encode())
    return value if isinstance(value, dict | list) else text


SPANS = request_format("collector.trace.v1.trace_service", "ExportTraceServiceRequest")
RECORDS = request_format("collector.logs.v1.logs_service", "ExportLogsServiceRequest")
