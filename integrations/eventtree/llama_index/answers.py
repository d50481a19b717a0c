"""What a model's responses say of themselves: text, usage, the model that answered. Strings and plain JSON are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from eventtree.event import JsonValue
from eventtree.llama_index.values import Shaper
from eventtree.usage.collect import COUNTS, PLACES, without_text

TOP = PLACES | COUNTS
"""Keys looked for at the top of an answer, and in `additional_kwargs`."""

NESTED = ("response", "message", "metadata", "result", "data", "delta")
"""Events of a provider's stream that wrap the body (Mistral's in `data`, Cohere's last one in `delta`)."""

MODEL_KEYS = ("model", "model_name", "modelVersion", "model_version")
FINISH_KEYS = ("finish_reason", "stop_reason", "done_reason", "stopReason")


class Answer:
    """Gathers what one model run's responses say, chunk by chunk or at once."""

    __slots__ = ("additional", "finish", "is_provided", "model", "outputs", "parts", "raw", "streamed")

    def __init__(self, is_provided: bool) -> None:
        """Nothing has come yet; `is_provided` says that responses hold what a provider sent."""
        self.is_provided = is_provided
        self.parts: list[str] = []
        self.raw: dict[str, JsonValue] = {}
        self.additional: dict[str, JsonValue] = {}
        self.model: str | None = None
        self.finish: str | None = None
        self.outputs: JsonValue = None
        self.streamed = False

    def progress(self, response: Any) -> bool:
        """Take a chunk of a stream; whether it had content."""
        self.streamed = True
        delta = getattr(response, "delta", None)
        if isinstance(delta, str) and delta:
            self.parts.append(delta)
        self.read(response)
        return bool(delta) or says_more(response)

    def end(self, shaper: Shaper, response: Any) -> None:
        """Take the last response; of a stream it holds the full text."""
        if response is None:
            return
        self.read(response)
        if shaper.pipeline.content:
            self.outputs = shaper.value(response)
            self._complete(shaper)

    def read(self, response: Any) -> None:
        """Keep usage, model and finish reason; a later chunk's count wins, an absent one changes nothing."""
        if not self.is_provided:
            return
        raw = fields(getattr(response, "raw", None))
        for body in (raw, *(fields(field(raw, name)) for name in NESTED)) if raw is not None else ():
            if body is None or isinstance(body, str):
                continue
            merge(self.raw, counted(body, TOP if body is raw else PLACES))
            charged = figures(field(field(body, "_hidden_params"), "response_cost"))
            if charged is not None:
                self.raw["_hidden_params"] = {"response_cost": charged}  # LiteLLM's; beside it stand headers
            names = (field(body, key) for key in MODEL_KEYS)
            self.model = next((name for name in names if isinstance(name, str) and name), self.model)
            self.finish = _finish(body) or self.finish
        for holder in (field(fields(response), "message"), response):
            place = field(fields(holder), "additional_kwargs")
            merge(self.additional, counted(place, TOP) if place else {})

    @property
    def text(self) -> str:
        """What has come so far."""
        return "".join(self.parts)

    def partial(self, shaper: Shaper, chat: bool) -> JsonValue:
        """Outputs of a stream that ended early."""
        if not self.parts or not shaper.pipeline.content:
            return None
        text = shaper.text(self.text)
        return {"messages": [{"role": "assistant", "content": text}]} if chat else {"text": text}

    def usage(self, shaper: Shaper, provider: str | None) -> JsonValue:
        """What is recorded under `usage`, or None where nothing arrived."""
        if not self.raw and not self.additional:
            return None
        told = {"raw": self.raw, "additional_kwargs": self.additional, "provider": provider, "streamed": self.streamed}
        return masked(told, shaper.text)

    def _complete(self, shaper: Shaper) -> None:
        """Add why it ended, and text that came in deltas only (some models' last chunk lacks it)."""
        if not isinstance(self.outputs, dict):
            return
        for message in self.outputs.get("messages", ()):
            if self.finish:
                message.setdefault("finish_reason", shaper.text(self.finish))
            if isinstance(message.get("content"), str):
                message["content"] = self.longer(shaper, message["content"])
        if isinstance(self.outputs.get("text"), str):
            self.outputs["text"] = self.longer(shaper, self.outputs["text"])

    def longer(self, shaper: Shaper, text: str) -> str:
        """`text`, or all deltas where it is only their beginning."""
        whole = self.text
        return shaper.text(whole) if len(whole) > len(text) and whole.startswith(text) else text


def says_more(response: Any) -> bool:
    """Whether a chunk without text has content all the same: a tool call, a thought, an image."""
    message = fields(field(fields(response), "message"))
    place = field(message, "additional_kwargs")
    if isinstance(place, dict) and (place.get("tool_calls") or place.get("thinking_delta")):
        return True
    blocks = field(message, "blocks")
    kinds = [(field(one, "block_type"), one) for one in blocks] if isinstance(blocks, list) else []
    return any(kind not in (None, "text", "thinking") or field(one, "content") for kind, one in kinds)


def counted(body: Any, keys: frozenset[str]) -> dict[str, JsonValue]:
    """What `body` holds under `keys`, as plain JSON; what is empty is left out."""
    if isinstance(body, Mapping):
        names = [key for key in body if key in keys]
    else:
        # Properties stand in no dict and have to be asked for; counts at the top are known of dicts and fields alone.
        own = getattr(body, "__dict__", None) or ()
        names = [*PLACES, *(key for key in own if key in keys and key not in PLACES)]
    found = ((key, figures(without_text(key, field(body, key)))) for key in names)
    return {key: plain for key, plain in found if plain not in (None, {}, [])}


def merge(kept: dict[str, JsonValue], found: Mapping[str, JsonValue]) -> None:
    """Add what a chunk says to what was said before: Anthropic's first event has the input, its last may not."""
    for key, plain in found.items():
        before = kept.get(key)
        kept[key] = {**before, **plain} if isinstance(before, dict) and isinstance(plain, dict) else plain


def fields(body: Any) -> Any:
    """A pydantic model's fields as a dict: asking it for one that it lacks is slow, and is done with each chunk."""
    if not isinstance(body, BaseModel):
        return body
    extra = body.__pydantic_extra__
    return {**body.__dict__, **extra} if extra else body.__dict__


def field(body: Any, name: str) -> Any:
    """An entry of a dict or an attribute of a provider's object, or None; properties that raise are None."""
    if type(body) is dict or isinstance(body, Mapping):
        return body.get(name)
    try:
        return getattr(body, name, None)
    except Exception:  # noqa: BLE001  (a provider's class may do anything)
        return None


def figures(value: Any, depth: int = 0) -> JsonValue:
    """Counts and names as plain JSON: numbers, short strings, and dicts and lists of them."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value[:200]
    if depth > 6:
        return None
    if isinstance(value, list | tuple):
        return [figures(one, depth + 1) for one in value[:100]]
    if not isinstance(value, Mapping):
        # What a provider sends beyond the client's model (DeepSeek's cache) stands apart in pydantic's objects.
        value = {**(getattr(value, "__dict__", None) or {}), **(getattr(value, "__pydantic_extra__", None) or {})}
        value.pop("__pydantic_extra__", None)
    return {str(key): plain for key, one in value.items() if (plain := figures(one, depth + 1)) is not None}


def masked(value: JsonValue, text: Callable[[str], str]) -> JsonValue:
    """`figures` with its texts redacted; the keys are the provider's names of them."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return [masked(one, text) for one in value]
    return {key: masked(one, text) for key, one in value.items()} if isinstance(value, dict) else value


def _finish(body: Any) -> str | None:
    choices = field(body, "choices")
    if isinstance(choices, list) and choices:
        body = fields(choices[0])
    why = next((found for key in FINISH_KEYS if (found := field(body, key))), None)
    return str(getattr(why, "value", why)) if why is not None else None
