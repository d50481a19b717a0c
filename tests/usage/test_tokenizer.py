"""Counting where nobody reported: only with a tokenizer at hand, never with a download."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventtree.usage.tokenizer import _counter, _of_model, count_tokens, infer

pytest.importorskip("tiktoken")
pytest.importorskip("llama_index.core", reason="its package holds the tokenizer's files", exc_type=ImportError)

CHAT = {"messages": [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "Hello, world!"}]}
ANSWER = {"messages": [{"role": "assistant", "content": "Hi."}]}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a tokenizer went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    _counter.cache_clear()
    yield
    _counter.cache_clear()


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4", "gpt-5-mini", "openai/gpt-4o", "gpt-oss-20b"])
def test_the_models_own_tokenizer_counts(model: str) -> None:
    """C8: from the files that llama-index-core ships."""
    assert count_tokens("Hello, world!", model) == 4


def test_a_text_of_special_tokens_is_text() -> None:
    """C8: a user may write <|endoftext|>."""
    assert (count_tokens("<|endoftext|>", "gpt-4o") or 0) > 1


def test_messages_cost_what_openais_cookbook_says() -> None:
    """C8: three tokens around each message, three for the reply; the answer is counted plainly."""
    usage = infer(CHAT, ANSWER, "gpt-4o-mini")
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (4 + 1 + 4 + 1 + 2 * 3 + 3, 2, 21)
    assert usage.inferred
    assert usage.problems == ("inferred: counted without tools and images",)


def test_tools_and_images_are_left_out() -> None:
    """C8: and said so, above."""
    parts = [{"type": "text", "text": "Hello, world!"}, {"type": "image", "url": "x"}, "Hi.", 3]
    plain = [{"role": "user", "content": "Hello, world!"}]
    rich = [{"role": "user", "content": parts[:2], "tool_calls": [{"id": "1", "name": "f", "arguments": {}}]}]
    assert count_tokens(rich, "gpt-4o") == count_tokens(plain, "gpt-4o")
    assert count_tokens([{"content": parts}], "m", tokenizer=len) == 13 + 3 + 6


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "llama3.1:8b", "", None, "text-davinci-003"])
def test_a_model_without_a_tokenizer_is_not_guessed(model: str | None) -> None:
    """C8: another model's tokenizer would be a guess, and nothing is downloaded."""
    assert count_tokens("Hello", model) is None
    assert infer(CHAT, ANSWER, model) is None


def test_a_given_tokenizer_goes_first() -> None:
    """C8: whatever the model."""
    usage = infer({"prompt": "abc"}, {"text": "de"}, "claude-sonnet-4-5", tokenizer=len)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (3, 2, 5)


def test_several_texts_are_summed() -> None:
    """C6: n > 1 of a text model."""
    assert infer({"prompt": "a"}, {"texts": ["bc", "def"]}, None, tokenizer=len).output_tokens == 5  # type: ignore[union-attr]


def test_a_side_that_cannot_be_counted_is_none() -> None:
    """Rule 4."""
    usage = infer({"prompt": "abc"}, None, None, tokenizer=len)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (3, None, None)


@pytest.mark.parametrize("tokenizer", [lambda text: 1 / 0, lambda text: -1, lambda text: None, lambda text: 1.5])
def test_a_tokenizer_that_fails_is_no_count(tokenizer: Any) -> None:
    """Rule 1, rule 4."""
    assert count_tokens("abc", None, tokenizer) is None


def test_a_text_beyond_measure_is_not_counted() -> None:
    """Tiktoken's time grows with the square of a run without spaces."""
    assert count_tokens("a" * 1_000_001, "gpt-4o") is None


def test_the_environment_is_as_before() -> None:
    """Only the loading sees the folder."""
    before = dict(os.environ)
    assert count_tokens("Hello", "gpt-4o") == 1
    assert dict(os.environ) == before


def test_a_broken_file_in_the_users_cache_is_neither_used_nor_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tiktoken deletes and downloads a file whose hash is wrong."""
    file = tmp_path / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
    file.write_text("broken")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert count_tokens("Hello", "gpt-4") == 1
    assert file.read_text() == "broken"
    assert os.environ["TIKTOKEN_CACHE_DIR"] == str(tmp_path)


def test_without_files_there_is_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """C8: None, and no download."""
    monkeypatch.setattr("eventtree.usage.tokenizer._folders", lambda: iter(()))
    assert count_tokens("Hello", "gpt-4o") is None


def test_without_tiktoken_there_is_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert _of_model("gpt-4o") is None


def test_an_encoding_that_cannot_be_loaded_is_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """C8: a file that vanished between the look and the reading."""

    def vanish(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr("tiktoken.get_encoding", vanish)
    assert count_tokens("Hello", "gpt-4o") is None


def test_without_llama_index_there_are_no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """C8: the user's own cache may still have them."""
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "llama_index" else found(name))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert count_tokens("Hello", "gpt-4o") is None
