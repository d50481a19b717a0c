"""Counting tokens where a model reported none. Such a usage is `inferred`, and its problems name what was not counted.

The tokenizer is the user's (given to eventtree, or to LlamaIndex as `Settings.tokenizer`), else tiktoken's, if the file
of the model's encoding is on this machine: llama-index-core ships those of cl100k and o200k. Nothing is ever
downloaded; without a tokenizer the count is None.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Sized
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

from eventtree.diagnostics import must_pass
from eventtree.event import Usage
from eventtree.kinds import JsonValue
from eventtree.remembered import Remembered

Tokenizer = Callable[[str], int | Sized]
"""The tokens of a text, or their number."""

FILES: dict[str, tuple[str, str]] = {
    "cl100k_base": ("cl100k_base", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
    "o200k_base": ("o200k_base", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
    "o200k_harmony": ("o200k_base", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
}
"""Encoding → the file it is read from and its sha256: tiktoken deletes and downloads a file that does not match."""

URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
"""tiktoken names a cached file by the sha1 of its URL."""

CACHE_VARIABLES = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
MOST_CHARACTERS = 1_000_000
"""Longer texts are not counted: tiktoken's time grows with the square of a run without spaces."""

PER_MESSAGE = 3
PRIMING = 3
"""OpenAI's cookbook, "How to count tokens with tiktoken": three tokens around each message, three for the reply."""

LEFT_OUT = "counted without tools and images"
CUT = re.compile(r"…\[[^\]]{1,60} cut\]…")
"""The mark of a text that was shortened when it was recorded: its tokens cannot be counted any more."""
_loading = Lock()


def infer(inputs: JsonValue, outputs: JsonValue, model: str | None, tokenizer: Tokenizer | None = None) -> Usage | None:
    """The usage of a model event, counted from its `inputs` and `outputs` (forms: `eventtree.event`), or None."""
    sent = count_tokens(_content(inputs), model, tokenizer)
    answered = count_tokens(_content(outputs), model, tokenizer, is_answer=True)
    if sent is None and answered is None:
        return None
    total = None if sent is None or answered is None else sent + answered
    return Usage(
        input_tokens=sent,
        output_tokens=answered,
        total_tokens=total,
        inferred=True,
        problems=(f"inferred: {LEFT_OUT}",),
    )


def count_tokens(
    content: JsonValue, model: str | None, tokenizer: Tokenizer | None = None, is_answer: bool = False
) -> int | None:
    """Tokens of a text or a list of messages, or None if they cannot be counted. Tools and images are not counted."""
    if not isinstance(content, str | list):
        return None
    tokenizer = tokenizer or _of_model(model) or _of_llama_index()
    if tokenizer is None:
        return None
    texts = list(_texts(content, is_answer))
    if sum(len(text) for text in texts) > MOST_CHARACTERS or any(CUT.search(text) for text in texts):
        return None
    messages = sum(isinstance(one, dict) for one in content) if isinstance(content, list) else 0
    overhead = 0 if is_answer or not messages else PER_MESSAGE * messages + PRIMING
    try:
        counts = [_number(tokenizer(text)) for text in texts]
    except BaseException as error:  # the user's tokenizer, or a text that tiktoken refuses: the count is unknown
        if must_pass(error):
            raise
        return None
    known = [one for one in counts if one is not None]
    return sum(known) + overhead if len(known) == len(counts) else None


def _number(tokens: int | Sized) -> int | None:
    count = len(tokens) if isinstance(tokens, Sized) and not isinstance(tokens, str) else tokens
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def _content(value: JsonValue) -> JsonValue:
    """The messages or the text of a model event's inputs or outputs."""
    if not isinstance(value, dict):
        return value
    if "dimensions" in value:
        return ""  # an embedding: vectors are no tokens
    return next((value[key] for key in ("messages", "prompt", "text", "texts") if value.get(key) is not None), None)


def _texts(content: JsonValue, is_answer: bool) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for message in content:
        if isinstance(message, str):
            yield message
        elif isinstance(message, dict):
            about = () if is_answer else ("role", "name")
            yield from (message[key] for key in about if isinstance(message.get(key), str))
            own = message.get("content")
            parts = own if isinstance(own, list) else [own] if isinstance(own, str) else ()
            texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
            yield from (text for text in texts if isinstance(text, str))


def _of_model(model: str | None) -> Tokenizer | None:
    """tiktoken's encoding of a model; None for an unknown model: the tokenizer of another would be a guess."""
    if not model or importlib.util.find_spec("tiktoken") is None:
        return None
    from tiktoken.model import encoding_name_for_model

    try:
        return _counter(encoding_name_for_model(model.rpartition("/")[2]))
    except KeyError:
        return None


@lru_cache(maxsize=8)
def _counter(name: str) -> Tokenizer | None:
    """Counts by an encoding, and remembers: the steps of an agent send the same texts again and again."""
    encoding = _load(name)
    if encoding is None:
        return None

    def count(text: str) -> int:
        return len(encoding.encode(text, disallowed_special=()))

    return Remembered(512, count, longest=10_000).__getitem__


def _of_llama_index() -> Tokenizer | None:
    """LlamaIndex's global tokenizer, if the app chose it. Its default is GPT's, and recognizable as a `partial`."""
    chosen = getattr(sys.modules.get("llama_index.core"), "global_tokenizer", None)
    is_default = isinstance(chosen, partial) and "tiktoken" in type(getattr(chosen.func, "__self__", None)).__module__
    return chosen if callable(chosen) and not is_default else None


def _load(name: str) -> Any:
    """The encoding, if its file is complete on this machine; else None. Nothing is downloaded."""
    if name not in FILES:
        return None
    import tiktoken

    with _loading:
        folder = next((folder for folder in _folders() if _has_file(folder, *FILES[name])), None)
        if folder is None:
            return None
        before = os.environ.get(CACHE_VARIABLES[0])
        os.environ[CACHE_VARIABLES[0]] = str(folder)
        try:
            return tiktoken.get_encoding(name)
        except (OSError, ValueError):
            return None
        finally:
            if before is None:
                del os.environ[CACHE_VARIABLES[0]]
            else:
                os.environ[CACHE_VARIABLES[0]] = before


def _folders() -> Iterator[Path]:
    """Folders that may have the files: the user's cache, then llama-index-core's (found without importing it)."""
    yield from (Path(os.environ[name]) for name in CACHE_VARIABLES if os.environ.get(name))
    package = importlib.util.find_spec("llama_index")
    for folder in (package.submodule_search_locations if package else None) or ():
        yield Path(folder) / "core" / "_static" / "tiktoken_cache"


def _has_file(folder: Path, file: str, sha256: str) -> bool:
    # sha1 is tiktoken's name of the file, no protection.
    path = folder / hashlib.sha1(URL.format(file).encode(), usedforsecurity=False).hexdigest()
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False
