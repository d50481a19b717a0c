"""Reads the files in a message's content, in every provider's form, and leaves their bytes out.

Base64 is of no use to a reader and may be large, so it is replaced by the size and the sha256 of its bytes.
"""

from __future__ import annotations

import binascii
import hashlib
from typing import Any
from urllib.parse import unquote_to_bytes

from eventtree.content.walk import SHORT, Walk
from eventtree.kinds import JsonValue

Block = dict[Any, Any]

TYPES = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "image_generation_call": "image",
    "audio": "audio",
    "input_audio": "audio",
    "video": "video",
    "video_url": "video",
    "file": "file",
    "input_file": "file",
    "document": "file",
    "media": "file",
    "base64": "file",
}
"""Type of a block in LangChain, OpenAI, Anthropic, Gemini → type of the part. Blocks of other types are kept."""

NESTED = ("source", "file", "image_url", "video_url", "input_audio", "inline_data", "inlineData")
"""Keys under which providers put the fields of a file."""

ENCODED = ("base64", "b64_json", "file_data")
"""Keys that always hold base64; `data` does beside a type of file or encoding."""

URLS = ("url", "file_uri", "fileUri", "uri")
MIMES = ("mime_type", "media_type", "mimeType", "format")
MANY = 32
"""A dict with more entries than this is not a file; see python_values.from_dict."""
BY_MIME = frozenset({"image", "audio", "video"})
URLSAFE = bytes.maketrans(b"-_", b"+/")


def from_dict(walk: Walk, block: Block, depth: int) -> dict[str, JsonValue] | None:
    """The part of a dict that describes a file, or None."""
    kind = block.get("type")
    if type(kind) is not str:
        kind = "base64" if "inline_data" in block or "inlineData" in block else ""
    if kind not in TYPES:
        return None
    flat = flattened(block)
    payload = take_payload(flat, kind)
    url, mime = take_text(flat, URLS), take_text(flat, MIMES)
    if payload is None and url is None:
        return None
    flat.pop("source_type", None)
    if payload is None and url and url[:5] == "data:":
        mime, payload = data_url(url)
        url = None
    part: dict[str, JsonValue] = {"type": part_type(TYPES[kind], mime)}
    if url is not None:
        part["url"] = walk.text(url)
    part |= about(walk, part["type"], mime, payload)
    return part | walk.pairs(flat.items(), depth + 1)


def take_text(flat: Block, keys: tuple[str, ...]) -> str | None:
    """Take out the first text under one of `keys`."""
    return next((flat.pop(key) for key in keys if type(flat.get(key)) is str), None)


def flattened(block: Block) -> Block:
    """The block and its nested dicts as one dict, without its type."""
    flat = dict(block)
    flat.pop("type", None)
    for key in NESTED:
        inner = flat.get(key)
        if type(inner) is dict:
            del flat[key]
            inner = dict(inner)
            if "type" in inner:
                inner["source_type"] = inner.pop("type")
            flat.update(inner)
        elif type(inner) is str and key.endswith("_url"):
            flat["url"] = flat.pop(key)
    return flat


def take_payload(flat: Block, kind: str) -> str | bytes | None:
    """Take out the file's bytes or base64, if the block has any."""
    keys = [key for key in ENCODED if isinstance(flat.get(key), str | bytes)]
    source = flat.get("source_type", "base64" if any(key in flat for key in MIMES) else None)
    if type(flat.get("data")) is bytes or (source not in (None, "text") and type(flat.get("data")) is str):
        keys.append("data")
    if kind == "image_generation_call" and isinstance(flat.get("result"), str):
        keys.append("result")
    return flat.pop(keys[0]) if keys else None


def part_type(kind: str, mime: str | None) -> str:
    """image, audio, video or file; a file's mime type may say which."""
    family = mime.partition("/")[0] if mime and kind == "file" else kind
    return family if family in BY_MIME else kind


def about(walk: Walk, kind: str, mime: str | None, payload: str | bytes | None) -> dict[str, JsonValue]:
    """The description of a file: its mime type, and the size and sha256 of its bytes."""
    if isinstance(payload, str) and payload[:5] == "data:":
        mime, payload = data_url(payload)
    out: dict[str, JsonValue] = {}
    if mime:
        out["mime_type"] = walk.text(mime if "/" in mime else f"{kind}/{mime}")
    if payload is None:
        return out
    return out | digest(decoded(payload) if isinstance(payload, str) else payload)


def data_url(url: str) -> tuple[str | None, str | bytes]:
    """Mime type and payload of `data:image/png;base64,…`."""
    head, _, payload = url[5:].partition(",")
    mime = head.partition(";")[0] or None
    return mime, payload if head.endswith(";base64") else unquote_to_bytes(payload)


def decoded(text: str) -> bytes:
    """The bytes of base64 text, also URL-safe or with line breaks; the text itself if it is not base64."""
    raw = text.encode("utf-8", "replace")
    for attempt in (bytes, tidied):
        try:
            return binascii.a2b_base64(attempt(raw), strict_mode=True)
        except binascii.Error:
            continue
    return raw


def tidied(raw: bytes) -> bytes:
    """Base64 in its strict form: one alphabet, no white space, padded."""
    solid = raw.translate(URLSAFE, b" \t\r\n").rstrip(b"=")
    return solid + b"=" * (-len(solid) % 4)


def digest(content: bytes | bytearray | memoryview) -> dict[str, JsonValue]:
    """Size and sha256 of some bytes."""
    return {"bytes": memoryview(content).nbytes, "sha256": hashlib.sha256(content, usedforsecurity=False).hexdigest()}


def from_data_url(walk: Walk, url: str, _depth: int) -> JsonValue:
    """A text that is a data URL, as a part; any other text beginning with `data:` as text."""
    mime, payload = data_url(url)
    if not mime or "/" not in mime or len(mime) > SHORT or ";base64," not in url[:SHORT]:
        return walk.text(url)
    kind = part_type("file", mime)
    return {"type": kind} | about(walk, kind, mime, payload)
