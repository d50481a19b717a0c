"""Answers that other projects recorded, from their source packages, through the real clients of both frameworks.

The bodies are served again on loopback, and what our event says is held against what the body says, read here by
itself. A figure may be unknown (the client dropped it) but never wrong: where a client contradicts the body, the event
has to name a problem. Run with `pytest -m upstream -s tests/usage/test_recordings.py`; it fetches with pip.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from eventtree.event import Usage
from eventtree.journal import Journal, MemoryFiles
from eventtree.kinds import Kind
from eventtree.recording.recorder import recorder
from eventtree.testing.capture import Captured
from tests.usage.served import EVENTS, JSON, Answer, Provider, provider

pytestmark = [pytest.mark.upstream, pytest.mark.filterwarnings("ignore")]
yaml = pytest.importorskip("yaml")

PACKAGES = (
    "langchain-openai==1.7.3", "langchain-openai==0.3.33", "langchain-anthropic==1.7.10", "langchain-anthropic==0.3.22",
    "langchain-aws==1.9.1", "langchain-groq==1.1.3",
)  # fmt: skip
"""Old ones too: their recordings are of older APIs. The clients are those that are installed."""
AWS_EVENTS = "application/vnd.amazon.eventstream"
APIS = {
    "langchain_openai": "chat",
    "langchain_groq": "groq",
    "langchain_aws": "bedrock",
    "langchain_anthropic": "anthropic",
}
COMPARED = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")

Figures = dict[str, int]


@dataclass(frozen=True, slots=True)
class Recording:
    """One request that was recorded, and its answer."""

    name: str
    api: str
    request: dict[str, Any]
    body: bytes
    is_streamed: bool

    @property
    def answer(self) -> Answer:
        """As it is served."""
        stream = AWS_EVENTS if self.api == "bedrock" else EVENTS
        return Answer(self.body, stream if self.is_streamed else JSON)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the packages are unpacked."""
    place: Path = tmp_path_factory.mktemp("sdists")
    for package in PACKAGES:
        fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", package]
        done = subprocess.run([*fetch, "-d", str(place)], capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"{package} cannot be fetched: {done.stderr[-200:]}")
    for archive in place.glob("*.tar.gz"):
        with tarfile.open(archive) as opened:
            opened.extractall(place, filter="data")
    return place


def recordings(folder: Path, package: str) -> Iterator[Recording]:
    """Those answers of chat models in a package's cassettes that went well."""
    for path in sorted(folder.glob(f"{package}/tests/**/cassettes/**/*.yaml*")):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        tape = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for number, (asked, told) in enumerate(zip(tape.get("requests", ()), tape.get("responses", ()), strict=True)):
            body = told["body"]["string"]
            request = parsed(asked["body"])
            status = told.get("status_code") or told["status"]["code"]
            api = api_of(package, request)
            if status == 200 and api and isinstance(body, bytes):
                is_streamed = not body.startswith(b"{")
                yield Recording(f"{path.name.partition('.yaml')[0]} {number}", api, request, body, is_streamed)


def api_of(package: str, request: dict[str, Any]) -> str | None:
    """Which API a request was for; None where no chat model was asked."""
    if "messages" in request:
        return APIS[package.partition("-")[0]]
    is_chat = "input" in request and "model" in request and "embedding" not in request["model"]
    return "responses" if is_chat else None


def parsed(text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# What a body says, read by itself


def said(recording: Recording) -> Figures | None:
    """The figures of a body, in our convention, or None where it has none."""
    return SAID[recording.api](list(messages(recording)))


def messages(recording: Recording) -> Iterator[dict[str, Any]]:
    """The body, or the events of its stream."""
    if not recording.is_streamed:
        yield json.loads(recording.body)
    elif recording.api == "bedrock":
        from botocore.eventstream import EventStreamBuffer

        buffer = EventStreamBuffer()
        buffer.add_data(recording.body)
        yield from ({event.headers[":event-type"]: json.loads(event.payload)} for event in buffer)
    else:
        lines = recording.body.decode().splitlines()
        found = (line.removeprefix("data:").strip() for line in lines if line.startswith("data:"))
        yield from (json.loads(line) for line in found if line != "[DONE]")


def said_by_chat(found: list[dict[str, Any]]) -> Figures | None:
    usages = [one.get("usage") or one.get("x_groq", {}).get("usage") for one in found]
    usage = next((one for one in reversed(usages) if one), None)
    return usage and {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
        "cache_read_tokens": (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
        "reasoning_tokens": (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0),
    }


def said_by_responses(found: list[dict[str, Any]]) -> Figures | None:
    usages = [(one.get("response") or one).get("usage") for one in found]
    usage = next((one for one in reversed(usages) if one), None)
    return usage and {
        "input_tokens": usage["input_tokens"],
        "output_tokens": usage["output_tokens"],
        "cache_read_tokens": usage["input_tokens_details"]["cached_tokens"],
        "reasoning_tokens": usage["output_tokens_details"]["reasoning_tokens"],
    }


def said_by_anthropic(found: list[dict[str, Any]]) -> Figures | None:
    usage: dict[str, Any] = {}
    for one in found:
        usage |= {
            k: v for k, v in (one.get("usage") or one.get("message", {}).get("usage") or {}).items() if v is not None
        }
    rounds = [one for one in usage.get("iterations") or () if one.get("type") in ("message", "compaction")]
    if not any(one["type"] == "compaction" for one in rounds):
        rounds = [usage]
    read, write = (sum(r.get(f"cache_{kind}_input_tokens", 0) for r in rounds) for kind in ("read", "creation"))
    return {
        "input_tokens": sum(r["input_tokens"] for r in rounds) + read + write,
        "output_tokens": sum(r["output_tokens"] for r in rounds),
        "cache_read_tokens": read,
        "cache_write_tokens": write,
    }


def said_by_bedrock(found: list[dict[str, Any]]) -> Figures | None:
    usages = [one.get("usage") or one.get("metadata", {}).get("usage") for one in found]
    usage = next((one for one in reversed(usages) if one), None)
    read, write = ((usage or {}).get(f"cache{kind}InputTokens", 0) for kind in ("Read", "Write"))
    return usage and {
        "input_tokens": usage["inputTokens"] + read + write,
        "output_tokens": usage["outputTokens"],
        "cache_read_tokens": read,
        "cache_write_tokens": write,
    }


SAID: dict[str, Callable[[list[dict[str, Any]]], Figures | None]] = {
    "chat": said_by_chat,
    "groq": said_by_chat,
    "responses": said_by_responses,
    "anthropic": said_by_anthropic,
    "bedrock": said_by_bedrock,
}


# The clients


def langchain_model(api: str, model: str, url: str) -> Any:
    if api in ("chat", "responses"):
        from langchain_openai import ChatOpenAI

        more: dict[str, Any] = {"use_responses_api": api == "responses", "stream_usage": True}
        return ChatOpenAI(model=model, api_key="x", base_url=f"{url}/v1", max_retries=0, **more)
    if api == "groq":
        groq = pytest.importorskip("langchain_groq")
        return groq.ChatGroq(model=model, api_key="x", base_url=url, max_retries=0)
    if api == "bedrock":
        aws = pytest.importorskip("langchain_aws")
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-west-2"}
        return aws.ChatBedrockConverse(model="us.anthropic.claude-sonnet-5", endpoint_url=url, **keys)
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model=model, api_key="x", base_url=url, max_retries=0)


def ask_langchain(recording: Recording, url: str) -> None:
    from eventtree.langchain import CallbackHandler

    model = langchain_model(recording.api, recording.request.get("model", ""), url)
    more = {"callbacks": [CallbackHandler(journal=":memory:", strict=True)]}
    if recording.is_streamed:
        list(model.stream("Hello", config=more))
    else:
        model.invoke("Hello", config=more)


def llama_index_model(api: str, url: str) -> Any:
    if api == "anthropic":
        anthropic = pytest.importorskip("llama_index.llms.anthropic")
        return anthropic.Anthropic(model="claude-sonnet-4-5-20250929", api_key="x", base_url=url, max_retries=0)
    from llama_index.llms.openai import OpenAI, OpenAIResponses

    kind = OpenAIResponses if api == "responses" else OpenAI
    return kind(model="gpt-4o-mini", api_key="x", api_base=f"{url}/v1", max_retries=0)


def ask_llama_index(recording: Recording, url: str) -> None:
    from llama_index.core.llms import ChatMessage

    import eventtree.llama_index

    model = llama_index_model(recording.api, url)
    eventtree.llama_index.set_global_handler(journal=":memory:", strict=True)
    try:
        if recording.is_streamed:
            list(model.stream_chat([ChatMessage("Hello")]))
        else:
            model.chat([ChatMessage("Hello")])
    finally:
        eventtree.llama_index.set_global_handler(None)


def replayed(ask: Callable[[Recording, str], None], recording: Recording, served: Provider) -> Usage | str | None:
    """What our event says, or the name of the error with which the client refused the body."""
    journal, before = Journal(MemoryFiles()), recorder.capture_journal
    recorder.capture_journal = journal
    served.answers.clear()
    served.answers.append(recording.answer)
    try:
        ask(recording, served.url)
    except pytest.skip.Exception:
        raise
    except Exception as error:  # a body that the client cannot take
        return f"{type(error).__name__}: {str(error)[:80]}"
    finally:
        recorder.capture_journal = before
    events = [event for tree in Captured(journal) for event in tree.events if event.kind is Kind.MODEL]
    (event,) = [one for one in events if not one.internal]
    return event.usage


def verdict(usage: Usage | str | None, expected: Figures | None) -> str:
    """match · less (a detail is unknown) · flagged · wrong, or what else came."""
    if isinstance(usage, str):
        return f"client: {usage}"
    if expected is None:
        return "no usage" if usage is None or usage.inferred else "wrong"
    if usage is None:
        return "wrong"
    ours = {name: getattr(usage, name) for name in COMPARED}
    off = {name for name, value in expected.items() if (ours[name] or 0) != value}
    if not off:
        return "match"
    if usage.problems:
        return "inferred" if usage.inferred else "flagged"
    return "wrong" if any(ours[name] is not None for name in off) or "input_tokens" in off else "less"


CASES = [
    pytest.param(package.replace("-", "_").replace("==", "-"), ask, id=f"{package}-{ask.__name__}")
    for package in PACKAGES
    for ask in (ask_langchain, ask_llama_index)
    if ask is ask_langchain or package.startswith(("langchain-openai", "langchain-anthropic"))
]


@pytest.mark.parametrize(("package", "ask"), CASES)
def test_recorded_answers_say_in_the_event_what_they_say_in_the_body(
    folder: Path, package: str, ask: Callable[[Recording, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """All match, or the mismatch is the client's and the event names it."""
    table: dict[str, Counter[str]] = {}
    wrong: list[str] = []
    with provider() as served:
        for recording in recordings(folder, package):
            usage, expected = replayed(ask, recording, served), said(recording)
            outcome = verdict(usage, expected)
            row = f"{ask.__name__[4:]:12} {recording.api:10} {'stream' if recording.is_streamed else 'whole'}"
            table.setdefault(row, Counter())[outcome] += 1
            if outcome not in ("match", "less", "flagged", "no usage", "inferred") and "client" not in outcome:
                wrong.append(f"{recording.name}: {expected} became {usage}")
            if outcome == "flagged" and isinstance(usage, Usage):
                table[row][f"named {usage.problems[0]}"] += 0
    with capsys.disabled():
        for row, outcomes in sorted(table.items()):
            total = sum(outcomes.values())
            print(f"\n{package}: {row}: {total} recordings: {dict(outcomes)}", end="")
    assert table
    assert not wrong, "\n".join(wrong[:10])
    if not any(outcome == "match" for outcomes in table.values() for outcome in outcomes):
        pytest.skip("the client takes none of the bodies in this environment")
